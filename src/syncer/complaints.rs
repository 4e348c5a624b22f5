//! What is wrong, for the log: told when it appears or changes, and when it is over.

use std::collections::BTreeMap;

/// What is wrong, by what it is about: told when it appears or changes, and when it is over, not at each pass.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, String>);

impl Complaints {
    /// Takes all that is wrong now, and logs what is new and what is over. A pass that could not look at everything ends
    /// nothing: it is not `certain`.
    pub(super) fn tell(&mut self, now: BTreeMap<String, String>, certain: bool) {
        log(self.update(now, certain));
    }

    /// Takes how some things are now, each with what is wrong, and logs what is new and what is over.
    pub(super) fn amend(&mut self, changes: impl IntoIterator<Item = (String, Option<String>)>) {
        log(self.change(changes));
    }

    fn update(&mut self, now: BTreeMap<String, String>, certain: bool) -> News {
        let mut over = std::mem::replace(&mut self.0, now);
        let is_old = |(about, why): &(&String, &String)| over.get(*about) == Some(*why);
        let new = self
            .0
            .iter()
            .filter(|told| !is_old(told))
            .map(|(about, why)| (about.clone(), why.clone()))
            .collect();
        over.retain(|about, _| !self.0.contains_key(about));
        if !certain {
            self.0.append(&mut over);
        }
        News { new, over }
    }

    fn change(&mut self, changes: impl IntoIterator<Item = (String, Option<String>)>) -> News {
        let mut news = News::default();
        for (about, why) in changes {
            match why {
                Some(why) => {
                    if self.0.insert(about.clone(), why.clone()).as_ref() != Some(&why) {
                        news.new.insert(about, why);
                    }
                }
                None => news.over.extend(self.0.remove_entry(&about)),
            }
        }
        news
    }
}

/// What is new or said otherwise, and what is over.
#[derive(Debug, Default, PartialEq)]
struct News {
    new: BTreeMap<String, String>,
    over: BTreeMap<String, String>,
}

fn log(news: News) {
    for (about, why) in news.new {
        tracing::warn!(about, "{why}");
    }
    for (about, why) in news.over {
        tracing::info!(about, "no longer: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(about, why)| ((*about).to_owned(), (*why).to_owned())).collect()
    }

    fn news(new: &[(&str, &str)], over: &[(&str, &str)]) -> News {
        News { new: told(new), over: told(over) }
    }

    #[test]
    fn a_complaint_is_told_when_it_comes_changes_and_goes() {
        let mut complaints = Complaints::default();
        let a = told(&[("a", "bad")]);
        assert_eq!(complaints.update(a.clone(), true), news(&[("a", "bad")], &[]));
        assert_eq!(complaints.update(a, true), news(&[], &[]));
        let worse = told(&[("a", "worse")]);
        assert_eq!(complaints.update(worse, true), news(&[("a", "worse")], &[]));
        assert_eq!(complaints.update(told(&[]), true), news(&[], &[("a", "worse")]));
    }

    #[test]
    fn a_pass_that_saw_nothing_ends_nothing() {
        let mut complaints = Complaints::default();
        let a = told(&[("a", "bad")]);
        complaints.update(a.clone(), true);
        let kernel = told(&[("kernel", "silent")]);
        assert_eq!(complaints.update(kernel, false), news(&[("kernel", "silent")], &[]));
        assert_eq!(complaints.update(a, true), news(&[], &[("kernel", "silent")]));
    }

    #[test]
    fn a_change_of_some_leaves_the_others() {
        let mut complaints = Complaints::default();
        complaints.update(told(&[("a", "bad"), ("b", "bad"), ("c", "bad")]), true);
        let change = |about: &str, why: Option<&str>| (about.to_owned(), why.map(str::to_owned));
        let changes =
            [change("a", None), change("b", Some("bad")), change("d", None), change("e", Some("new"))];
        assert_eq!(complaints.change(changes), news(&[("e", "new")], &[("a", "bad")]));
        let now = told(&[("b", "bad"), ("c", "bad"), ("e", "new")]);
        assert_eq!(complaints.update(now, true), news(&[], &[]));
    }
}
