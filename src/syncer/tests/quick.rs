//! Records that change cost what they ask for, and whatever else may have happened makes a full pass.

use super::*;

const TWO: &str = "10.1.52.0/24 via 10.1.1.52";

fn two() -> Arc<View> {
    fleet(&[("10.1.1.51", &["10.1.51.0/24"]), ("10.1.1.52", &["10.1.52.0/24"])])
}

/// A host whose routes are settled, and how often they were dumped so far.
async fn settled() -> (Host, usize) {
    let host = start(one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    (host, dumps)
}

#[tokio::test(start_paused = true)]
async fn changed_records_cost_no_dump() {
    let (host, dumps) = settled().await;
    let writes = host.kernel.writes();
    host.view.send_replace(two());
    host.has(&[ONE, TWO]).await;
    assert_eq!(host.kernel.writes(), writes + 1);
    host.view.send_replace(fleet(&[("10.1.1.53", &["10.1.51.0/24"]), ("10.1.1.52", &["10.1.52.0/24"])]));
    host.has(&["10.1.51.0/24 via 10.1.1.53", TWO]).await;
    assert_eq!(host.kernel.writes(), writes + 2, "one replacement");
    host.view.send_replace(one());
    host.has(&[ONE]).await;
    assert_eq!(host.kernel.dumps(), dumps);
    let status = host.board.read();
    assert_eq!((status.learned.len(), status.routes.len(), status.healthy), (1, 1, true), "{status:?}");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(host.kernel.dumps() > dumps, "the timer's pass is none the later");
    assert_eq!(host.kernel.writes(), writes + 4, "and finds nothing to do");
}

#[tokio::test(start_paused = true)]
async fn news_do_not_put_the_next_full_pass_off() {
    let (host, dumps) = settled().await;
    host.kernel.lose_route("10.1.51.0/24");
    for number in 0..35 {
        host.view.send_replace(if number % 2 == 0 { two() } else { one() });
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((1..=2).contains(&(host.kernel.dumps() - dumps)));
    assert!(host.shown().contains(&ONE.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_route_that_was_there_is_known() {
    let kernel = FakeKernel::new();
    kernel.add_parent("eth2", &["10.1.1.48/24"]);
    let theirs = route(&kernel, "10.1.52.0/24", "10.1.1.1", 4, 0);
    kernel.add_route(theirs);
    let host = start_on(kernel, one());
    host.has(&[ONE]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    host.view.send_replace(two());
    host.quiet().await;
    assert_eq!(host.shown(), [ONE]);
    assert_eq!(host.state_of("10.1.52.0/24").0, "foreign");
    host.view.send_replace(one());
    host.quiet().await;
    assert!(host.board.read().healthy);
    assert_eq!(host.kernel.dumps(), dumps);
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_is_not_as_it_was_seen_is_looked_at_anew() {
    let (host, dumps) = settled().await;
    // The same prefix and metric by another's hand, and no event of it has come yet.
    let metric = plan::metric("10.1.52.0/24".parse().unwrap());
    let theirs = route(&host.kernel, "10.1.52.0/24", "10.1.1.1", 4, metric);
    host.kernel.change_routes(&[RouteOp::Add(theirs.clone())]).await;
    host.view.send_replace(two());
    host.quiet().await;
    assert!(host.kernel.dumps() > dumps);
    assert_eq!(host.shown(), [ONE]);
    assert_eq!(host.state_of("10.1.52.0/24").0, "foreign");
    assert!(host.kernel.routes().await.unwrap().contains(&theirs));
}

#[tokio::test(start_paused = true)]
async fn news_beside_an_event_of_the_kernel_make_a_full_pass_at_once() {
    // Which of the two is heard of first is left to chance.
    for event_first in [true, false, false, false, false, false, false, false, false] {
        let (host, dumps) = settled().await;
        let event = || host.kernel.change_link("eth2", |_| {});
        if event_first {
            event();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        host.view.send_replace(two());
        if !event_first {
            event();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(host.shown(), [ONE, TWO]);
        assert_eq!(host.kernel.dumps(), dumps + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_a_quick_pass_can_not_write_is_told_and_tried_again() {
    let (host, _) = settled().await;
    host.kernel.break_route("10.1.52.0/24".parse().unwrap(), 12);
    host.view.send_replace(two());
    host.quiet().await;
    assert_eq!(host.shown(), [ONE]);
    assert_eq!(host.state_of("10.1.52.0/24").0, "failed");
    host.kernel.mend();
    host.has(&[ONE, TWO]).await;
    host.quiet().await;
    assert!(host.board.read().healthy);
}

#[tokio::test(start_paused = true)]
async fn a_quick_pass_leaves_this_hosts_own_containers_alone() {
    let (host, _) = settled().await;
    host.networks.send_replace(accessed_by_host(&["10.1.48.7"]));
    host.reaches(&["10.1.48.7"], 5).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    host.view.send_replace(fleet(&[("10.1.1.51", &["10.1.48.7/32", "10.1.51.0/24"])]));
    host.quiet().await;
    host.view.send_replace(one());
    host.quiet().await;
    assert_eq!(host.reached(), ["10.1.48.7"]);
    assert_eq!((host.kernel.our_routes().len(), host.kernel.dumps()), (2, dumps));
}

#[tokio::test(start_paused = true)]
async fn hosts_that_contest_a_prefix_are_judged_again_when_one_goes() {
    let both = fleet(&[("10.1.1.51", &["10.2.0.0/20"]), ("10.1.1.52", &["10.2.7.0/24", "10.1.52.0/24"])]);
    let host = start(both);
    host.has(&[TWO, "10.2.0.0/20 via 10.1.1.51"]).await;
    host.quiet().await;
    let dumps = host.kernel.dumps();
    assert_eq!(host.board.read().refused.len(), 1);
    host.view.send_replace(fleet(&[("10.1.1.52", &["10.2.7.0/24", "10.1.52.0/24"])]));
    host.has(&[TWO, "10.2.7.0/24 via 10.1.1.52"]).await;
    assert!(host.board.read().refused.is_empty());
    assert_eq!(host.kernel.dumps(), dumps);
}
