//! The socket that hears, on a thread of its own, and what each datagram leads to.
//!
//! A thread that waits in the kernel costs nothing while nobody speaks, and a flood of forged datagrams takes no turn from
//! the daemon's other parts. Such a datagram costs one call to the kernel and one HMAC: nothing is allocated for it, and
//! nothing but a number says that it came.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipvland_store::{Key, Nudge, Revision};
use tokio::sync::watch;

use super::{
    datagram::{Datagram, Kind, LONGEST, Letter, Seal},
    peers::Peers,
    teller::{Mouth, id_of},
};
use crate::{fleet::View, host::Reach, record::Record};

/// How soon a port that was taken, or an address that isn't there, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How often the thread looks whether it is still wanted, and how long it rests after an error of the socket.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a line in the log tells of datagrams that were refused.
const TELL: Duration = Duration::from_secs(10);

/// How many rounds are remembered. A nudge that is sent again after so many others costs a look that is rate-limited.
const ROUNDS: usize = 1024;

/// How many answers are given in a second, and how many more at once.
const ANSWERS_A_SECOND: f64 = 100.0;
const MOST_ANSWERS: f64 = 128.0;

/// A number that the status shows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts one, and returns the number.
    pub(super) fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Nudges with a good signature, each once.
    pub(super) heard: Counter,
    /// Answers to our own.
    pub(super) answers: Counter,
    /// What is not signed as it should be, or is no datagram of ours at all.
    pub(super) refused: Counter,
    /// Nudges that were heard before.
    pub(super) repeated: Counter,
}

/// What the thread needs to judge a datagram.
#[derive(Debug)]
pub(super) struct Hearing {
    seal: Seal,
    nudge: Nudge,
    views: watch::Receiver<Arc<View>>,
    own: watch::Receiver<Option<Key>>,
    peers: Arc<Peers>,
    port: u16,
    /// Our own last rounds, to which answers may come.
    rounds: [AtomicU64; 2],
    pub(super) counts: Counts,
}

/// What the thread remembers by itself.
pub(super) struct Memory {
    /// The last rounds that were heard, in a ring.
    rounds: Box<[u64; ROUNDS]>,
    at: usize,
    /// A token bucket of answers.
    answers: f64,
    answered: Instant,
    told: Option<Instant>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            rounds: Box::new([0; ROUNDS]),
            at: 0,
            answers: MOST_ANSWERS,
            answered: Instant::now(),
            told: None,
        }
    }

    /// Remembers a round; says whether that is a new one.
    fn is_new(&mut self, round: u64) -> bool {
        let new = !self.rounds.contains(&round);
        if new {
            self.rounds[self.at % ROUNDS] = round;
            self.at = (self.at + 1) % ROUNDS;
        }
        new
    }

    fn may_answer(&mut self) -> bool {
        let now = Instant::now();
        let came = now.duration_since(self.answered).as_secs_f64() * ANSWERS_A_SECOND;
        (self.answers, self.answered) = ((self.answers + came).min(MOST_ANSWERS), now);
        let may = self.answers >= 1.0;
        if may {
            self.answers -= 1.0;
        }
        may
    }
}

impl Hearing {
    pub(super) fn new(
        id: &str,
        nudge: Nudge,
        views: watch::Receiver<Arc<View>>,
        own: watch::Receiver<Option<Key>>,
        peers: Arc<Peers>,
        port: u16,
    ) -> Self {
        Self {
            seal: Seal::of(id),
            nudge,
            views,
            own,
            peers,
            port,
            rounds: Default::default(),
            counts: Counts::default(),
        }
    }

    /// Draws the number of a round, to which answers may come from now on.
    pub(super) fn new_round(&self) -> u64 {
        // No round is 0, which is what nobody has drawn yet.
        let round = fastrand::u64(1..);
        let before = self.rounds[0].swap(round, Ordering::Relaxed);
        self.rounds[1].store(before, Ordering::Relaxed);
        round
    }

    /// Takes a datagram; returns the answer to it and who gets that.
    pub(super) fn take(
        &self,
        memory: &mut Memory,
        bytes: &[u8],
        from: IpAddr,
    ) -> Option<(Vec<u8>, SocketAddr)> {
        let datagram = Datagram::read(bytes);
        let datagram = datagram.filter(|datagram| match datagram.kind {
            Kind::Nudge => datagram.is_sealed(&self.seal),
            // The number is 64 bits that a stranger can't know, and checked first since it costs nothing.
            Kind::Answer => self.is_our_round(datagram.round) && self.is_answer(datagram),
        });
        let Some(datagram) = datagram else {
            self.refuse(memory, from);
            return None;
        };
        let host = host_of(datagram.sender)?;
        if datagram.kind == Kind::Answer {
            self.counts.answers.add();
            self.peers.hear(host);
            return None;
        }
        if !memory.is_new(datagram.round) {
            self.counts.repeated.add();
            return None;
        }
        self.counts.heard.add();
        self.nudge.hint(Some(Revision::new(datagram.revision)));
        // Its record may be what is new, and not be known here yet.
        let is_there = from == host || self.views.borrow().records.contains_key(&Record::key(host));
        if !is_there {
            return None;
        }
        self.peers.hear(host);
        let own = self.own.borrow().clone()?;
        let answer = memory.may_answer().then(|| Letter::answer(datagram.round, &own)).flatten()?;
        Some((answer.sealed(&self.seal), SocketAddr::new(host, self.port)))
    }

    fn is_our_round(&self, round: u64) -> bool {
        round != 0 && self.rounds.iter().any(|own| own.load(Ordering::Relaxed) == round)
    }

    fn is_answer(&self, datagram: &Datagram<'_>) -> bool {
        let view = self.views.borrow().clone();
        host_of(datagram.sender)
            .and_then(|host| id_of(&view, host))
            .is_some_and(|id| datagram.is_sealed(&Seal::of(id)))
    }

    fn refuse(&self, memory: &mut Memory, from: IpAddr) {
        let refused = self.counts.refused.add();
        // Not even the time is asked for each.
        if refused % 1024 != 1 || memory.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        memory.told = Some(Instant::now());
        tracing::debug!(refused, last = %from, "datagrams on the port for nudges are not signed by a host of this fleet");
    }
}

/// Returns the host that the key of a record names.
fn host_of(key: &str) -> Option<IpAddr> {
    Record::host_of(&Key::parse(key).ok()?)
}

/// A socket with its thread.
#[derive(Debug)]
struct Ear {
    at: SocketAddr,
    wanted: Arc<AtomicBool>,
}

impl Ear {
    fn open(at: SocketAddr, hearing: Arc<Hearing>) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let wanted = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&wanted);
        thread::Builder::new()
            .name("nudges".to_owned())
            .spawn(move || listen(&socket, &hearing, &still))
            .map(|_| Self { at, wanted })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

fn listen(socket: &UdpSocket, hearing: &Hearing, wanted: &AtomicBool) {
    let (mut memory, mut mouth) = (Memory::new(), Mouth::default());
    // One byte more than the longest datagram: what is cut off is too long then.
    let mut buffer = [0; LONGEST + 1];
    while wanted.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let from = from.ip().to_canonical();
                if let Some((answer, to)) = hearing.take(&mut memory, &buffer[..length], from) {
                    mouth.say(&answer, to);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!(%error, "a nudge could not be read");
                thread::sleep(PATIENCE);
            }
        }
    }
}

/// Keeps the socket open where it is to be.
#[derive(Debug)]
pub(super) struct Ears {
    /// The address, where it isn't the host's.
    pub(super) listen: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) nudge: Nudge,
    pub(super) reach: watch::Receiver<Option<Reach>>,
}

/// Where nudges are heard, or why nowhere.
pub(super) type Listening = Result<Option<SocketAddr>, String>;

impl Ears {
    /// Listens for ever, once a poller is there that nudges are for.
    pub(super) async fn keep(mut self, hearing: Arc<Hearing>, told: watch::Sender<Listening>) {
        if self.nudge.polled().wait_for(|polled| *polled).await.is_err() {
            return std::future::pending().await;
        }
        let mut open: Option<Ear> = None;
        loop {
            let reach = self.reach.borrow_and_update().as_ref().map(|reach| reach.address);
            let wanted = self.listen.or(reach).map(|address| SocketAddr::new(address, self.port));
            if open.as_ref().map(|ear| ear.at) != wanted {
                // The old one is closed first, by its thread.
                drop(open.take());
                if let Some(at) = wanted {
                    let now = match Ear::open(at, Arc::clone(&hearing)) {
                        Ok(ear) => {
                            tracing::info!(%at, "nudges of the other hosts are heard on udp {at}");
                            open = Some(ear);
                            Ok(Some(at))
                        }
                        Err(error) => Err(format!(
                            "nudges can't be heard on udp {at}, so other hosts' changes are seen when the interval is over: \
                             {error}; free the port, or set nudge.port on all hosts to another one"
                        )),
                    };
                    told.send_if_modified(|told| {
                        let changed = *told != now;
                        if let Err(problem) = now.as_ref().map_err(Clone::clone)
                            && changed
                        {
                            tracing::warn!("{problem}");
                        }
                        *told = now;
                        changed
                    });
                }
            }
            tokio::select! {
                Ok(()) = self.reach.changed() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}
