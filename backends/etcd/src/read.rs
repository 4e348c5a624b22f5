//! All keys of the store at one etcd revision, in pages.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse};
use ipvland_store::{Error, Key, Result};

use crate::{
    contents::{Contents, Put},
    errors::Failure,
    layout::{Layout, Place},
    members::{Members, Repeat},
};

/// What a read found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) contents: Contents,
    pub(crate) records: BTreeMap<Key, Bytes>,
}

/// The keys of the first page.
const FIRST_PAGE: i64 = 64;
/// The fewest and the most keys of a later one.
const PAGE: (usize, usize) = (16, 4096);
/// What a page should hold, in bytes. Values that are no records may be larger, so a message isn't bounded by it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How often a read starts again that took so long that etcd compacted its revision.
const ATTEMPTS: u32 = 3;

/// Reads what is there now, as new as any commit that ended before the call.
pub(crate) async fn now(members: &Members, layout: &Layout) -> Result<Found, Failure> {
    for _ in 0..ATTEMPTS {
        match pages(members, layout, 0).await {
            Err(Failure::HistoryGone) => {}
            answer => return answer,
        }
    }
    Err(Failure::Store(Error::away(format!(
        "etcd at {} was compacted while its records were read, {ATTEMPTS} times: compact it less often",
        members.shown()
    ))))
}

/// Reads what was there at an etcd revision, which may be gone.
pub(crate) async fn then(members: &Members, layout: &Layout, revision: i64) -> Result<Found, Failure> {
    pages(members, layout, revision).await
}

/// Returns how many records and strays there were at an etcd revision, which may be gone.
pub(crate) async fn count(members: &Members, layout: &Layout, revision: i64) -> Result<i64, Failure> {
    let (from, to) = layout.records();
    let options = GetOptions::new().with_range(to).with_count_only().with_revision(revision);
    let counted = members.call(Repeat::Always, |mut client| {
        let (from, options) = (from.clone(), options.clone());
        async move { client.get(from, Some(options)).await }
    });
    Ok(counted.await?.1.count())
}

/// Returns the revision that etcd has come to, whoever wrote it.
pub(crate) async fn revision(members: &Members, layout: &Layout) -> Result<i64, Failure> {
    let options = GetOptions::new().with_count_only();
    let asked = members.call(Repeat::Always, |mut client| {
        let (key, options) = (layout.generation(), options.clone());
        async move { client.get(key, Some(options)).await }
    });
    Ok(asked.await?.1.header().map_or(0, |header| header.revision()))
}

/// Says whether a record or stray that was there at a revision, `before`, was written between `after` and that, neither of them
/// counted.
pub(crate) async fn is_written_between(
    members: &Members,
    layout: &Layout,
    after: i64,
    before: i64,
) -> Result<bool, Failure> {
    let (from, to) = layout.records();
    let options = GetOptions::new()
        .with_range(to)
        .with_keys_only()
        .with_limit(1)
        .with_revision(before)
        .with_min_mod_revision(after + 1)
        .with_max_mod_revision(before - 1);
    let found = members.call(Repeat::Always, |mut client| {
        let (from, options) = (from.clone(), options.clone());
        async move { client.get(from, Some(options)).await }
    });
    Ok(!found.await?.1.kvs().is_empty())
}

/// Reads page after page at one revision; 0 is the newest.
async fn pages(members: &Members, layout: &Layout, mut revision: i64) -> Result<Found, Failure> {
    let (mut from, to) = layout.all();
    let mut limit = FIRST_PAGE;
    let mut found = Found { contents: Contents::empty(revision), records: BTreeMap::new() };
    loop {
        let page = page(members, &from, &to, limit, revision).await?;
        if revision == 0 {
            revision = page.header().map_or(0, |header| header.revision());
            found.contents.at = revision;
        }
        let more = page.more();
        let (count, bytes, last) = take(page, layout, &mut found);
        match last {
            Some(last) if more => from = [last, vec![0]].concat(),
            _ => return Ok(found),
        }
        limit = (PAGE_BYTES / (bytes / count).max(1)).clamp(PAGE.0, PAGE.1) as i64;
    }
}

async fn page(
    members: &Members,
    from: &[u8],
    to: &[u8],
    limit: i64,
    revision: i64,
) -> Result<GetResponse, Failure> {
    let options = GetOptions::new().with_range(to).with_limit(limit).with_revision(revision);
    let (_, page) = members
        .call(Repeat::Always, |client| {
            let (from, options) = (from.to_vec(), options.clone());
            async move {
                let mut client = client.kv_client().max_decoding_message_size(usize::MAX);
                client.get(from, Some(options)).await
            }
        })
        .await?;
    Ok(page)
}

/// Takes the keys of a page; returns how many there were, their bytes, and the last.
fn take(mut page: GetResponse, layout: &Layout, found: &mut Found) -> (usize, usize, Option<Vec<u8>>) {
    let (mut count, mut bytes, mut last) = (0, 0, None);
    for pair in page.take_kvs() {
        let written = pair.mod_revision();
        let (key, value) = pair.into_key_value();
        count += 1;
        bytes += key.len() + value.len();
        match layout.place(&key) {
            Place::Generation => found.contents.set_generation(Some(&value), written),
            Place::Record(name) => {
                if let Put::Record(record) = found.contents.put(name, value.len(), written) {
                    found.records.insert(record, Bytes::from(value));
                }
            }
            Place::Foreign => {}
        }
        last = Some(key);
    }
    (count.max(1), bytes, last)
}
