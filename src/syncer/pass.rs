//! The two passes: over everything, and over what changed records ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use ipvland_store::Key;

use super::{Memory, Seen, Syncer, accessed, found::Found, link_name, local, log::tell, table::Table};
use crate::{
    fleet::{Source, View},
    host_access,
    kernel::{Address, KernelError, Link, LinkIndex, Route},
    network::Networks,
    plan,
    policy::{Judge, Update},
};

/// How many changed records are looked at one by one however few there are in all.
const MANY_RECORDS: usize = 256;

/// What decides which routes are wanted, besides what the kernel shows.
struct Wish {
    view: Arc<View>,
    own: Option<Key>,
    left: bool,
    networks: Networks,
}

/// What is wrong, by what it is about.
type Wrong = BTreeMap<String, String>;

/// How the routes to other hosts' prefixes are treated.
struct Fleet {
    /// What they leave by; none are wanted without it.
    parent: Option<LinkIndex>,
    /// Whether those that are there stay as they are.
    keep: bool,
}

impl Syncer {
    /// Makes a pass over everything; tells whether nothing failed.
    pub(super) async fn full(&mut self, memory: &mut Memory) -> bool {
        // Not two tables at a time.
        memory.seen = None;
        let wish = Wish {
            view: Arc::clone(&self.view.borrow_and_update()),
            own: self.own.borrow_and_update().clone(),
            left: *self.leave.borrow_and_update(),
            networks: Arc::clone(&self.networks.borrow_and_update()),
        };
        memory.answered = Arc::clone(&wish.view);
        memory.accessed = accessed(&wish.networks);
        let mut wrong = Wrong::new();
        let result = self.reconcile(wish, memory, &mut wrong).await;
        let (clean, uncertain) = match result {
            Ok(clean) => (clean, None),
            Err(error) => {
                wrong.insert("kernel".to_owned(), error.to_string());
                (false, Some(error.to_string()))
            }
        };
        memory.complaints.tell(wrong, uncertain.is_none());
        memory.found.lock().uncertain = uncertain;
        clean
    }

    async fn reconcile(
        &self,
        wish: Wish,
        memory: &mut Memory,
        wrong: &mut Wrong,
    ) -> Result<bool, KernelError> {
        let mut links = self.kernel.links().await?;
        let addresses = self.kernel.addresses().await?;
        let access =
            host_access::settle(&*self.kernel, &self.machine, &wish.networks, &mut links, &addresses).await;
        let mut table = Table::new(self.kernel.routes().await?);
        let shared = Arc::clone(&memory.found);
        let (plan, fleet) = {
            let mut found = shared.lock();
            let fleet = self.judge(&wish, &links, &addresses, memory, &mut found, wrong);
            found.reached = access.routes.iter().map(|(_, route)| route.prefix).collect();
            let containers = access.routes.iter().map(|(_, route)| route.clone()).collect();
            let mut plan = plan::merge(wanted(&found, fleet.parent, containers), table.dumped());
            if fleet.keep {
                plan = plan.additions_only(|route| host_access::is_route(route, &access.devices));
            }
            found.begins(&plan);
            (plan, fleet)
        };
        let results = self.kernel.change_routes(&plan.ops).await;
        let name = |index: Option<LinkIndex>| link_name(&links, index);
        let done = plan.ops.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(op, _)| op);
        tell(done.clone(), name);
        table.apply(done);
        tracing::debug!(
            revision = wish.view.revision.as_ref().map(ToString::to_string),
            changes = plan.ops.len(),
            foreign = plan.foreign.len(),
            "pass over the routes done"
        );
        let clean = access.networks.iter().all(|network| network.state != "failed")
            && results.iter().all(Result::is_ok);
        let mut found = shared.lock();
        wrong.extend(found.installed(&plan, &results, name));
        wrong.extend(found.accessed(access));
        memory.seen = fleet.parent.filter(|_| !fleet.keep).map(|parent| Seen { table, parent, links });
        Ok(clean)
    }

    /// Judges the fleet's records, and says what is to become of the routes that they ask for.
    fn judge(
        &self,
        wish: &Wish,
        links: &[Link],
        addresses: &[Address],
        memory: &mut Memory,
        found: &mut Found,
        wrong: &mut Wrong,
    ) -> Fleet {
        let view = &wish.view;
        found.is_judged = !wish.left && view.source != Source::None;
        if !found.is_judged {
            // Without any records it can't be told which of our routes are old: all are left as they are.
            return Fleet { parent: None, keep: !wish.left };
        }
        let mut local = local(links, addresses, self.parent.as_deref(), wish.own.clone());
        let parent = self.find_parent(links);
        match &parent {
            Ok(_) => memory.underlay.clone_from(&local.underlay),
            // The routes that can't be at the moment are still told as wanted.
            Err(_) if !memory.underlay.is_empty() => local.underlay.clone_from(&memory.underlay),
            Err(_) => {}
        }
        // What was judged stands for as long as all that it depends on does.
        let judged = memory.judged.as_ref().filter(|_| *found.judge.local() == local);
        let changed = judged.and_then(|judged| changed(view, judged));
        if changed.is_none() {
            found.judge = Judge::new(local);
        }
        found.judge.update(&view.records, &view.strays, changed.as_ref());
        memory.judged = Some(Arc::clone(view));
        for refused in found.judge.refused() {
            wrong.insert(about(&refused.file, refused.prefix), format!("refused: {}", refused.reason));
        }
        found.interface = self.parent.clone().unwrap_or_default();
        match parent {
            Ok(parent) => {
                found.no_parent = None;
                // The daemon may have been killed before what it learned last was on the disk, and the kernel knows it.
                Fleet { parent: Some(parent), keep: view.source == Source::Disk }
            }
            Err(why) => {
                if self.parent.is_some() || found.judge.routes().next().is_some() {
                    wrong.insert("parent".to_owned(), why.clone());
                }
                found.no_parent = Some(why);
                Fleet { parent: None, keep: true }
            }
        }
    }

    /// Makes a pass over what changed records ask for; tells whether that was all there is to do. If not, a full pass is
    /// due at once: something else changed as well, or the kernel is not as it was seen last.
    pub(super) async fn quick(&mut self, memory: &mut Memory) -> bool {
        let Some(Seen { mut table, parent, links }) = memory.seen.take() else { return false };
        let other = self.own.has_changed().unwrap_or(false)
            || self.leave.has_changed().unwrap_or(false)
            || accessed(&self.networks.borrow()) != memory.accessed;
        let view = Arc::clone(&self.view.borrow_and_update());
        let changed = memory.judged.as_ref().and_then(|judged| changed(&view, judged));
        let (false, Source::Store, Some(changed)) = (other, view.source, changed) else { return false };
        let shared = Arc::clone(&memory.found);
        let (plan, changes) = {
            let mut found = shared.lock();
            let update = found.judge.update(&view.records, &view.strays, Some(&changed));
            memory.judged = Some(Arc::clone(&view));
            memory.answered = Arc::clone(&view);
            let Update::Only(mut changes) = update else { return false };
            changes.prefixes.retain(|prefix| !found.reached.contains(prefix));
            let wanted = changes.prefixes.iter().filter_map(|prefix| {
                let next_hop = found.judge.next_hop(*prefix)?;
                Some(plan::route(*prefix, next_hop, parent))
            });
            let installed: Vec<Route> =
                changes.prefixes.iter().flat_map(|prefix| table.of(*prefix)).cloned().collect();
            let plan = plan::merge(wanted, &installed);
            found.begins(&plan);
            (plan, changes)
        };
        let results = self.kernel.change_routes(&plan.ops).await;
        let name = |index: Option<LinkIndex>| link_name(&links, index);
        let done = plan.ops.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(op, _)| op);
        tell(done.clone(), name);
        if results.iter().any(Result::is_err) {
            return false;
        }
        table.apply(done);
        tracing::debug!(
            revision = view.revision.as_ref().map(ToString::to_string),
            records = changed.len(),
            changes = plan.ops.len(),
            foreign = plan.foreign.len(),
            "pass over changed records done"
        );
        let refused = changes
            .refused
            .into_iter()
            .map(|((file, prefix), why)| (about(&file, prefix), why.map(|why| format!("refused: {why}"))));
        let routes = shared.lock().amended(&changes.prefixes, &plan, name);
        memory.complaints.amend(refused.chain(routes));
        memory.seen = Some(Seen { table, parent, links });
        true
    }

    fn find_parent(&self, links: &[Link]) -> Result<LinkIndex, String> {
        let Some(name) = &self.parent else {
            return Err("no parent interface is set; name one as `interface` under [host]".into());
        };
        match links.iter().find(|link| link.name == *name) {
            None => Err(format!("the parent interface {name} is missing")),
            Some(link) if !link.up => {
                Err(format!("the parent interface {name} is down; raise it with `ip link set {name} up`"))
            }
            Some(link) => Ok(link.index),
        }
    }
}

/// Returns the keys of changed records, where they are so few that it is worth while to look at those alone.
fn changed(view: &View, judged: &View) -> Option<BTreeSet<Key>> {
    let most = MANY_RECORDS.max(view.records.len() / 4);
    view.changed_since(judged).filter(|keys| keys.len() <= most)
}

/// Returns the wanted routes, sorted by prefix: those by the parent, and those to this host's own containers.
fn wanted(
    found: &Found,
    parent: Option<LinkIndex>,
    mut containers: Vec<Route>,
) -> impl Iterator<Item = Route> + '_ {
    containers.sort_unstable();
    let mut containers = containers.into_iter().peekable();
    let reached: &BTreeSet<IpNet> = &found.reached;
    let fleet = parent.into_iter().flat_map(move |parent| {
        found.judge.routes().map(move |(prefix, next_hop)| plan::route(prefix, next_hop, parent))
    });
    let mut fleet = fleet.filter(|route| !reached.contains(&route.prefix)).peekable();
    std::iter::from_fn(move || match (fleet.peek(), containers.peek()) {
        (Some(route), Some(own)) if own.prefix > route.prefix => fleet.next(),
        (_, Some(_)) => containers.next(),
        (_, None) => fleet.next(),
    })
}

fn about(file: &str, prefix: Option<IpNet>) -> String {
    prefix.map_or_else(|| file.to_owned(), |prefix| format!("{file} {prefix}"))
}
