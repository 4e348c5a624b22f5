use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn wish() -> Wish {
    Wish::Prefix { pools: vec![net("10.1.0.0/16")], length: 24, reserved: Vec::new() }
}

fn granted(text: &str) -> Answer {
    Ok(Lease { net: net(text), kind: Kind::Prefix })
}

const LONG: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_lease_is_on_disk_before_its_asker_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leases.json");
    let leases = Leases::open(path.clone()).unwrap();
    let mut wishes = leases.wishes();
    let asker = tokio::spawn({
        let leases = leases.clone();
        async move { leases.lease(wish(), LONG).await }
    });
    wishes.wait_for(|wishes| wishes.len() == 1).await.unwrap();
    leases.answer(BTreeMap::from([(0, granted("10.1.3.0/24"))])).await.unwrap();
    assert_eq!(asker.await.unwrap().unwrap(), net("10.1.3.0/24"));
    assert!(leases.wishes().borrow().is_empty());
    let again = Leases::open(path).unwrap();
    assert_eq!(*again.held(), BTreeMap::from([(net("10.1.3.0/24"), Kind::Prefix)]));
    again.give_back(net("10.1.3.0/24")).await.unwrap();
    assert!(again.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_why_and_its_wish_goes() {
    let dir = tempfile::tempdir().unwrap();
    let leases = Leases::open(dir.path().join("leases.json")).unwrap();
    leases.hinder("the store is away".to_owned());
    let error = leases.lease(wish(), LONG).await.unwrap_err();
    assert_eq!(error, "nothing was leased within 5 s: the store is away");
    assert!(leases.wishes().borrow().is_empty());
}

#[tokio::test]
async fn a_standing_wish_stays_until_it_is_granted() {
    let dir = tempfile::tempdir().unwrap();
    let leases = Leases::open(dir.path().join("leases.json")).unwrap();
    leases.wish(wish());
    leases.answer(BTreeMap::from([(0, Err("nothing is free".to_owned()))])).await.unwrap();
    assert_eq!(leases.wishes().borrow().len(), 1);
    leases.answer(BTreeMap::from([(0, granted("10.1.3.0/24"))])).await.unwrap();
    assert!(leases.wishes().borrow().is_empty());
}

#[test]
fn a_damaged_file_is_no_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leases.json");
    std::fs::write(&path, "{").unwrap();
    assert!(Leases::open(path).unwrap_err().contains("leases.json"));
}
