//! Sentences for what etcd and the way to it say.

use ipvland_store::Error;

use crate::tls_errors;

/// Why a call to a member failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This member is no help now, and another may be.
    Member {
        error: Error,
        /// Whether etcd surely did nothing, so that a write may be tried elsewhere.
        is_unsent: bool,
    },
    /// etcd has compacted the revision away, or has not come to it.
    HistoryGone,
    /// The store's answer to the caller.
    Store(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// What is known of the host's side of a call, for its sentence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// The member's URL.
    pub(crate) url: &'a str,
    /// Who logged in.
    pub(crate) username: Option<&'a str>,
    /// What all keys start with.
    pub(crate) prefix: &'a str,
    /// Whether this host has a client certificate.
    pub(crate) has_identity: bool,
}

/// Says what went wrong at a member.
pub(crate) fn from_member(caller: Caller<'_>, error: &etcd_client::Error) -> Failure {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return unanswered(caller, &clean(&error.to_string()), false);
    };
    let said = status.message();
    if let Some(failure) = etcd_says(caller, said) {
        return failure;
    }
    let chain = chain(status);
    if let Some(sentence) = tls_errors::sentence(caller, &chain) {
        // No request leaves before the handshake ends, but for one case: a member refuses a client's certificate after it.
        // It has read no request then.
        return Failure::Member { error: Error::refused(sentence), is_unsent: true };
    }
    unanswered(caller, &clean(&chain), never_connected(status))
}

fn unanswered(caller: Caller<'_>, said: &str, is_unsent: bool) -> Failure {
    let error = Error::away(format!(
        "the etcd member {} can't be reached ({said}): check that it runs there, and that it serves http or https as \
         store.etcd.endpoints says",
        caller.url
    ));
    Failure::Member { error, is_unsent }
}

/// Says that a member did not answer in time.
pub(crate) fn late(url: &str, seconds: f32, is_unsent: bool) -> Failure {
    let error = Error::away(format!("the etcd member {url} did not answer within {seconds} s"));
    Failure::Member { error, is_unsent }
}

/// Reads etcd's own words, which tell more than the code that comes with them.
fn etcd_says(caller: Caller<'_>, said: &str) -> Option<Failure> {
    let Caller { url, prefix, .. } = caller;
    let user = caller.username.map_or_else(|| "nobody".to_owned(), |name| format!("user {name:?}"));
    let has = |words: &str| said.contains(words);
    let refused = |sentence: String| Some(Failure::Store(Error::refused(sentence)));
    let elsewhere =
        |sentence: String| Some(Failure::Member { error: Error::away(sentence), is_unsent: true });
    if has("required revision has been compacted") || has("required revision is a future revision") {
        return Some(Failure::HistoryGone);
    }
    if has("invalid user ID or password") {
        return refused(format!(
            "etcd at {url} refused the password of {user}: correct store.etcd.username and store.etcd.password_file"
        ));
    }
    if has("user name is empty") {
        return refused(format!(
            "etcd at {url} wants a user and a password: set store.etcd.username and store.etcd.password_file"
        ));
    }
    if has("permission denied") {
        return refused(format!(
            "etcd at {url} denies {user} the keys below {prefix}/: give the user's role read and write access, with \
             etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}/"
        ));
    }
    if has("invalid auth token") || has("auth store is old") || has("auth: revision") {
        return elsewhere(format!("etcd at {url} no longer knows the login of {user}, who logs in again"));
    }
    if has("too many operations") {
        return refused(format!(
            "the batch has too many changes for etcd at {url}: write at most {} records at once, or raise --max-txn-ops there",
            ipvland_store::MAX_BATCH_CHANGES
        ));
    }
    if has("request is too large") || has("larger than max") {
        return refused(format!(
            "the batch is too large for etcd at {url}: write at most {} bytes at once, or raise --max-request-bytes there",
            ipvland_store::MAX_BATCH_BYTES
        ));
    }
    if has("database space exceeded") {
        return refused(format!(
            "the database of etcd at {url} is full: compact and defragment it, then run etcdctl alarm disarm"
        ));
    }
    if has("no leader") {
        return elsewhere(format!(
            "the etcd member {url} has no leader: it is cut off, or most members are away, or one is being elected"
        ));
    }
    if has("too many requests") {
        return elsewhere(format!("the etcd member {url} has too much to do at the moment"));
    }
    if has("etcdserver: ") {
        return Some(Failure::Member {
            error: Error::away(format!("the etcd member {url} can't answer at the moment: {}", clean(said))),
            is_unsent: false,
        });
    }
    None
}

/// Tells whether no connection came to be, so that nothing can have been sent. These are the HTTP client's words; a member's
/// own are never a cause.
fn never_connected(status: &(impl std::error::Error + 'static)) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if said == "tcp connect error" || said == "dns error" {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns the words of an error's causes, the innermost last. Those of the status itself, with all its headers, are left
/// out where a cause has some.
fn chain(status: &(impl std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = status.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.iter().any(|known| known.contains(&said)) {
            words.push(said);
        }
        cause = error.source();
    }
    if words.is_empty() { status.to_string() } else { words.join(": ") }
}

/// Says that no member helps, with what each of them did.
pub(crate) fn no_member(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1
        && let Some(error) = errors.pop()
    {
        return error;
    }
    let words: Vec<_> = errors.iter().map(Error::to_string).collect();
    let sentence = format!("no etcd member serves this host: {}", words.join("; "));
    // One that is only away may come back.
    let is_refused = errors.iter().all(|error| error.remedy() == ipvland_store::Remedy::GiveUp);
    if is_refused { Error::refused(sentence) } else { Error::away(sentence) }
}

/// The longest text of a server that goes into an error, in characters.
const MAX_WORDS: usize = 300;

/// Makes one line of what a server said: no control characters, no runs of blanks, not too long.
pub(crate) fn clean(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use ipvland_store::Remedy;

    use super::*;

    const CALLER: Caller<'_> = Caller {
        url: "http://10.1.1.2:2379",
        username: Some("web"),
        prefix: "/ipvland",
        has_identity: false,
    };

    #[test]
    fn etcds_words_decide_the_remedy_and_whether_a_write_may_go_elsewhere() {
        for (said, remedy, unsent) in [
            ("etcdserver: mvcc: database space exceeded", Remedy::GiveUp, None),
            ("etcdserver: authentication failed, invalid user ID or password", Remedy::GiveUp, None),
            ("etcdserver: permission denied", Remedy::GiveUp, None),
            ("grpc: received message larger than max (3 vs. 2)", Remedy::GiveUp, None),
            ("etcdserver: no leader", Remedy::RetryLater, Some(true)),
            ("etcdserver: invalid auth token", Remedy::RetryLater, Some(true)),
            ("etcdserver: too many requests", Remedy::RetryLater, Some(true)),
            ("etcdserver: request timed out", Remedy::RetryLater, Some(false)),
            ("etcdserver: server stopped", Remedy::RetryLater, Some(false)),
        ] {
            let (error, is_unsent) = match etcd_says(CALLER, said) {
                Some(Failure::Store(error)) => (error, None),
                Some(Failure::Member { error, is_unsent }) => (error, Some(is_unsent)),
                other => panic!("{said}: {other:?}"),
            };
            assert_eq!((error.remedy(), is_unsent), (remedy, unsent), "{said}: {error}");
            assert!(error.to_string().contains(CALLER.url), "{error}");
        }
        let gone = etcd_says(CALLER, "etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(gone, Some(Failure::HistoryGone)));
        assert!(etcd_says(CALLER, "transport error").is_none());
    }

    #[test]
    fn a_member_that_is_only_away_may_come_back() {
        let (away, refused) = (|| Error::away("away"), || Error::refused("refused"));
        assert_eq!(no_member(vec![refused()]).to_string(), "refused");
        assert_eq!(no_member(vec![refused(), refused()]).remedy(), Remedy::GiveUp);
        let mixed = no_member(vec![refused(), away()]);
        assert_eq!(mixed.remedy(), Remedy::RetryLater);
        assert_eq!(mixed.to_string(), "no etcd member serves this host: refused; away");
        assert_eq!(clean("  a\x1b[31m \r\n b\0"), "a [31m b");
    }
}
