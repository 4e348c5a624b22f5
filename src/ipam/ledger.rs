//! What must outlive the daemon: the pools, and the addresses that were given, as a log that grows by a line a change.
//!
//! An address is on disk before it is answered, and stays there for a while after it came back: what the file holds is
//! never less than what containers have. Writers that come at once share one sync of the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Pool;
use crate::durable;

/// The first line of the file.
const HEAD: &str = "ipvland addresses 1";

/// How many lines more than it needs the file may have before it is written anew.
const SLACK: usize = 20_000;

/// How many failed writes are remembered for those who wait for them.
const REMEMBERED: usize = 1_000;

/// A change of what is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A pool is there, in the place of one with its id.
    Pool(Pool),
    /// A pool, by its id, is gone.
    NoPool(String),
    /// An address is given.
    Given(IpAddr),
    /// An address is free again.
    Free(IpAddr),
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    /// The pools by their ids.
    pub(super) pools: BTreeMap<String, Pool>,
    /// The addresses.
    pub(super) given: BTreeSet<IpAddr>,
}

/// The place of an entry in the log, for waiting until the disk has it.
pub(super) type Turn = u64;

/// The log. Clones are handles on one file.
#[derive(Debug, Clone)]
pub(super) struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    queue: Mutex<Queue>,
    disk: Mutex<Disk>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    last: Turn,
}

#[derive(Debug)]
struct Disk {
    /// None after a write that failed: the file is then written anew as a whole.
    file: Option<File>,
    image: Image,
    lines: usize,
    /// Up to where entries were written, or were lost with an error.
    settled: Turn,
    /// Those that were lost, and why.
    lost: Vec<(std::ops::RangeInclusive<Turn>, String)>,
}

impl Ledger {
    /// Opens the file, and writes it anew without what is out of date. It blocks.
    ///
    /// A last line that a power cut left half was never answered, and is dropped.
    ///
    /// # Errors
    /// A sentence when the file is damaged otherwise, or the disk refuses.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let image = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes).map_err(|what| damaged(&path, &what))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Image::default(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let mut disk = Disk { file: None, image, lines: 0, settled: 0, lost: Vec::new() };
        disk.renew(&path).map_err(|error| full(&path, &error))?;
        Ok(Self(Arc::new(Inner { path, queue: Mutex::default(), disk: Mutex::new(disk) })))
    }

    /// Returns what is on disk.
    pub(super) fn image(&self) -> Image {
        self.0.disk().image.clone()
    }

    /// Puts an entry into the log behind all others; it is not on disk before [`settle`](Self::settle) says so.
    pub(super) fn enter(&self, entry: Entry) -> Turn {
        let mut queue = self.0.queue();
        queue.entries.push(entry);
        queue.last += 1;
        queue.last
    }

    /// Returns the turn of the entry that was put in last.
    pub(super) fn newest(&self) -> Turn {
        self.0.queue().last
    }

    /// Has the disk take all entries, and waits for it. It blocks.
    ///
    /// # Errors
    /// As those of [`settle`](Self::settle).
    pub(super) fn settle_now(&self) -> Result<(), String> {
        self.0.settle(self.newest())
    }

    /// Has every write fail from now on, as a full disk does.
    #[cfg(test)]
    pub(super) fn break_off(&self) {
        self.0.disk().file = None;
        let _ = std::fs::remove_file(&self.0.path);
        std::fs::create_dir(&self.0.path).unwrap();
    }

    /// Waits until the disk has an entry and all before it.
    ///
    /// # Errors
    /// A sentence when the disk refuses; the entry is then not there.
    pub(super) async fn settle(&self, turn: Turn) -> Result<(), String> {
        let inner = Arc::clone(&self.0);
        let settled = tokio::task::spawn_blocking(move || inner.settle(turn));
        settled.await.map_err(|_| "the write of the addresses was cut short: restart ipvland".to_owned())?
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, turn: Turn) -> Result<(), String> {
        let mut disk = self.disk();
        if disk.settled < turn {
            let (entries, last) = {
                let mut queue = self.queue();
                (std::mem::take(&mut queue.entries), queue.last)
            };
            let first = disk.settled + 1;
            disk.settled = last;
            if let Err(error) = disk.append(&self.path, entries) {
                disk.file = None;
                disk.lost.push((first..=last, full(&self.path, &error)));
                // Nobody waits for older ones any more.
                let spare = disk.lost.len().saturating_sub(REMEMBERED);
                disk.lost.drain(..spare);
            }
        }
        match disk.lost.iter().find(|(turns, _)| turns.contains(&turn)) {
            Some((_, why)) => Err(why.clone()),
            None => Ok(()),
        }
    }
}

impl Disk {
    fn append(&mut self, path: &Path, entries: Vec<Entry>) -> io::Result<()> {
        if self.file.is_none() || self.lines > 2 * self.image.lines() + SLACK {
            self.renew(path)?;
        }
        let mut text = String::new();
        for entry in &entries {
            write_line(&mut text, entry)?;
        }
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the file is not open"))?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.lines += entries.len();
        entries.into_iter().for_each(|entry| self.image.apply(entry));
        Ok(())
    }

    /// Writes the whole file anew.
    fn renew(&mut self, path: &Path) -> io::Result<()> {
        self.file = None;
        let mut text = String::new();
        seal(&mut text, HEAD);
        for pool in self.image.pools.values() {
            write_line(&mut text, &Entry::Pool(pool.clone()))?;
        }
        for address in &self.image.given {
            write_line(&mut text, &Entry::Given(*address))?;
        }
        durable::write(path, text.as_bytes())?;
        self.file = Some(OpenOptions::new().append(true).open(path)?);
        self.lines = self.image.lines();
        Ok(())
    }
}

impl Image {
    fn lines(&self) -> usize {
        1 + self.pools.len() + self.given.len()
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Pool(pool) => drop(self.pools.insert(pool.id(), pool)),
            Entry::NoPool(id) => drop(self.pools.remove(&id)),
            Entry::Given(address) => drop(self.given.insert(address)),
            Entry::Free(address) => drop(self.given.remove(&address)),
        }
    }
}

fn write_line(text: &mut String, entry: &Entry) -> io::Result<()> {
    let line = match entry {
        Entry::Pool(pool) => format!("pool {}", serde_json::to_string(pool)?),
        Entry::NoPool(id) => format!("no pool {id}"),
        Entry::Given(address) => format!("given {address}"),
        Entry::Free(address) => format!("free {address}"),
    };
    seal(text, &line);
    Ok(())
}

/// Adds a line with a sum of its bytes, which tells a line that was written from one that was cut off.
fn seal(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line} {:08x}", sum(line));
}

/// FNV-1a of 32 bits: it guards against half a line, not against an enemy.
fn sum(line: &str) -> u32 {
    line.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Reads the file; an error says which line is wrong, and how.
fn read(bytes: &[u8]) -> Result<Image, String> {
    let mut image = Image::default();
    let mut broken = None;
    for (at, bytes) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = bytes.strip_suffix(b"\n").and_then(unseal);
        // What a power cut leaves is at the end, and lacks its own end or is a hole.
        let torn = !bytes.ends_with(b"\n") || bytes.contains(&0);
        match (line, broken) {
            (Some(_), Some(broken)) => return Err(format!("line {broken} is not as it was written")),
            (None, _) if !torn => return Err(format!("line {} is not as it was written", at + 1)),
            (None, broken_at) => broken = broken_at.or(Some(at + 1)),
            (Some(HEAD), None) if at == 0 => {}
            (Some(_), None) if at == 0 => return Err("it is of another version of ipvland".to_owned()),
            (Some(line), None) => {
                let entry = parse(line).ok_or_else(|| format!("line {} says what is unknown", at + 1))?;
                image.apply(entry);
            }
        }
    }
    // The file comes into being with its first line.
    if bytes.is_empty() || broken == Some(1) { Err("it has no first line".to_owned()) } else { Ok(image) }
}

fn unseal(line: &[u8]) -> Option<&str> {
    let (line, seal) = std::str::from_utf8(line).ok()?.rsplit_once(' ')?;
    (seal.len() == 8 && u32::from_str_radix(seal, 16) == Ok(sum(line))).then_some(line)
}

fn parse(line: &str) -> Option<Entry> {
    let (word, rest) = line.split_once(' ')?;
    match word {
        "pool" => serde_json::from_str(rest).ok().map(Entry::Pool),
        "no" => rest.strip_prefix("pool ").map(|id| Entry::NoPool(id.to_owned())),
        "given" => rest.parse().ok().map(Entry::Given),
        "free" => rest.parse().ok().map(Entry::Free),
        _ => None,
    }
}

fn damaged(path: &Path, what: &str) -> String {
    format!(
        "cannot read which addresses were given from {}: {what}; put the file back from a backup, or move it away while no \
         container starts: what containers have is known without it, and only gateways of l3 networks and auxiliary \
         addresses are forgotten",
        path.display()
    )
}

fn full(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}: check that the disk has room and is writable", path.display())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn write(ledger: &Ledger, entries: impl IntoIterator<Item = Entry>) {
        let turn = entries.into_iter().map(|entry| ledger.enter(entry)).last();
        ledger.settle(turn.unwrap()).await.unwrap();
    }

    fn pool(net: &str) -> Pool {
        Pool { gateway: Some(address("10.9.0.1")), ..Pool::new(net.parse().unwrap(), None, true) }
    }

    #[tokio::test]
    async fn what_was_settled_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.log");
        let ledger = Ledger::open(path.clone()).unwrap();
        let blue = pool("10.9.0.0/24");
        write(&ledger, [Entry::Pool(blue.clone()), Entry::Pool(pool("10.8.0.0/24"))]).await;
        write(&ledger, ["10.9.0.2", "10.9.0.3", "2001:db8::1"].map(|text| Entry::Given(address(text)))).await;
        write(&ledger, [Entry::Free(address("10.9.0.2")), Entry::NoPool("ipvland/10.8.0.0/24".to_owned())])
            .await;
        ledger.enter(Entry::Given(address("10.9.0.9")));
        let again = Ledger::open(path).unwrap().image();
        assert_eq!(again, ledger.image());
        assert_eq!(again.pools, BTreeMap::from([(blue.id(), blue)]));
        assert_eq!(again.given, ["10.9.0.3", "2001:db8::1"].map(address).into());
    }

    #[tokio::test]
    async fn a_torn_end_is_dropped_and_damage_before_it_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.log");
        let ledger = Ledger::open(path.clone()).unwrap();
        write(&ledger, ["10.9.0.2", "10.9.0.3"].map(|text| Entry::Given(address(text)))).await;
        let whole = std::fs::read(&path).unwrap();
        let start = whole.len() - "given 10.9.0.3 01234567\n".len();
        for end in start..whole.len() {
            for rest in [&b""[..], &[0; 100]] {
                std::fs::write(&path, [&whole[..end], rest].concat()).unwrap();
                let image = Ledger::open(path.clone()).unwrap().image();
                assert_eq!(image.given, [address("10.9.0.2")].into(), "cut at {end}");
            }
        }
        for at in 0..start {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let error = Ledger::open(path.clone()).unwrap_err();
            assert!(
                error.contains("addresses.log: ") && error.contains("put the file back"),
                "{at}: {error}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "a damaged file is left as it is");
        }
        std::fs::write(&path, b"").unwrap();
        assert!(Ledger::open(path).unwrap_err().contains("no first line"));
    }

    #[tokio::test]
    async fn an_entry_that_the_disk_refuses_is_an_error_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("state/addresses.log"), dir.path().join("aside"));
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let ledger = Ledger::open(path.clone()).unwrap();
        write(&ledger, [Entry::Given(address("10.9.0.2"))]).await;
        ledger.0.disk().file = None;
        std::fs::rename(dir.path().join("state"), &aside).unwrap();
        let turn = ledger.enter(Entry::Given(address("10.9.0.3")));
        let error = ledger.settle(turn).await.unwrap_err();
        assert!(error.starts_with("cannot write ") && error.contains("addresses.log"), "{error}");
        std::fs::rename(&aside, dir.path().join("state")).unwrap();
        write(&ledger, [Entry::Given(address("10.9.0.4"))]).await;
        assert!(ledger.settle(turn).await.is_err(), "what was lost stays lost");
        assert_eq!(Ledger::open(path).unwrap().image().given, ["10.9.0.2", "10.9.0.4"].map(address).into());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_has_grown_is_written_anew_and_writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.log");
        let ledger = Ledger::open(path.clone()).unwrap();
        for n in 0..SLACK as u32 {
            ledger.enter(Entry::Given(std::net::Ipv4Addr::from_bits(n).into()));
            ledger.enter(Entry::Free(std::net::Ipv4Addr::from_bits(n).into()));
        }
        write(&ledger, [Entry::Given(address("10.9.0.2"))]).await;
        let writes = (0..20u32).map(|n| {
            let ledger = ledger.clone();
            let turn = ledger.enter(Entry::Given(std::net::Ipv4Addr::from_bits(0x0a08_0000 + n).into()));
            tokio::spawn(async move { ledger.settle(turn).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 2000);
        assert_eq!(Ledger::open(path).unwrap().image().given.len(), 21);
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_holds_what_was_written_before_the_cut(
            changes in proptest::collection::vec((any::<bool>(), 0u32..40), 1..40), cut in any::<prop::sample::Index>(),
        ) {
            let mut text = String::new();
            seal(&mut text, HEAD);
            let head = text.len();
            let mut images = vec![(head, Image::default())];
            for (give, n) in changes {
                let address = std::net::Ipv4Addr::from_bits(n).into();
                let entry = if give { Entry::Given(address) } else { Entry::Free(address) };
                write_line(&mut text, &entry).unwrap();
                let mut image = images.last().unwrap().1.clone();
                image.apply(entry);
                images.push((text.len(), image));
            }
            let cut = head + cut.index(text.len() - head + 1);
            let expected = &images.iter().rev().find(|(end, _)| *end <= cut).unwrap().1;
            prop_assert_eq!(&read(&text.as_bytes()[..cut]).unwrap(), expected);
        }
    }
}
