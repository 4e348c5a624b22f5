//! Options of `docker network create`.

use super::ground::{Ground, contains, lacks};
use super::row::{Driver, Row};
use crate::failure::{Failure, Outcome};
use crate::guest::host::CARD;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "modes",
        behaviour: "`-o ipvlan_mode=` `l2`, `l3` or `l3s`",
        builtin: "yes; Docker 20.10 knows no `l3s`",
        ours: "yes, on every Docker; `-o mode=` as well",
        check: modes,
    },
    Row {
        name: "no-mode",
        behaviour: "no mode is given",
        builtin: "`l2`",
        ours: "`[network] mode` of the configuration, which is `l2` unless set",
        check: no_mode,
    },
    Row {
        name: "mode-in-capitals",
        behaviour: "`-o ipvlan_mode=L3`",
        builtin: "refused",
        ours: "the same as `l3`",
        check: mode_in_capitals,
    },
    Row {
        name: "unknown-mode",
        behaviour: "a mode that does not exist",
        builtin: "refused",
        ours: "refused, with the modes that there are",
        check: unknown_mode,
    },
    Row {
        name: "flags",
        behaviour: "`-o ipvlan_flag=` `bridge`, `private` or `vepa`",
        builtin: "yes; Docker 20.10 ignores it",
        ours: "yes, on every Docker",
        check: flags,
    },
    Row {
        name: "unknown-flag",
        behaviour: "a flag that does not exist",
        builtin: "refused; Docker 20.10 ignores it",
        ours: "refused, with the flags that there are",
        check: unknown_flag,
    },
    Row {
        name: "unknown-option",
        behaviour: "an option that does not exist, such as `-o parnet=eth2`",
        builtin: "ignored: the network is one without a parent",
        ours: "refused, with the options that there are",
        check: unknown_option,
    },
    Row {
        name: "mtu",
        behaviour: "`-o com.docker.network.driver.mtu=1400`",
        builtin: "ignored: the parent's MTU",
        ours: "the MTU of the containers' interfaces; `-o mtu=` as well",
        check: mtu,
    },
    Row {
        name: "mtu-too-large",
        behaviour: "an MTU above the parent's",
        builtin: "ignored",
        ours: "refused, with the parent's and how to raise it",
        check: mtu_too_large,
    },
    Row {
        name: "inspect",
        behaviour: "`docker network inspect` shows the options",
        builtin: "yes",
        ours: "yes",
        check: inspect,
    },
    Row {
        name: "config-from",
        behaviour: "`docker network create --config-only`, then `--config-from`",
        builtin: "yes",
        ours: "yes",
        check: config_from,
    },
];

const NET: &str = "--subnet 10.6.0.0/24 -o parent=eth2";

/// Wants mode and flag of the link of a new container on `net`, and removes both.
fn link_is(ground: &Ground, mode: &str, flag: &str) -> Outcome {
    ground.container("box", "--net net")?;
    container_is(ground, "box", mode, flag)?;
    ground.run("docker rm -f box; docker network rm net").map(|_| ())
}

/// Wants mode and flag of the link of a container.
fn container_is(ground: &Ground, container: &str, mode: &str, flag: &str) -> Outcome {
    let shown = ground.shown(container, "eth0")?;
    contains(&shown, &format!("ipvlan  mode {mode} {flag}"))
}

fn modes(ground: &Ground, driver: Driver) -> Outcome {
    for mode in ["l2", "l3", "l3s"] {
        let arguments = format!("{NET} -o ipvlan_mode={mode}");
        if mode == "l3s" && driver == Driver::BuiltIn && ground.old {
            ground.net_refused(driver, &arguments, "requested ipvlan mode 'l3s' is not valid")?;
            continue;
        }
        ground.net(driver, &arguments)?;
        link_is(ground, mode, "bridge")?;
    }
    if driver == Driver::Ours {
        ground.net(driver, &format!("{NET} -o mode=l3"))?;
        link_is(ground, "l3", "bridge")?;
    }
    Ok(())
}

fn no_mode(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, NET)?;
    link_is(ground, "l2", "bridge")?;
    if driver == Driver::Ours {
        ground.stop_ipvland()?;
        ground.start_ipvland(&format!("{} --mode=l3", ground.words()))?;
        ground.net(driver, NET)?;
        link_is(ground, "l3", "bridge")?;
        ground.stop_ipvland()?;
        ground.start_ipvland(&ground.words())?;
    }
    Ok(())
}

fn mode_in_capitals(ground: &Ground, driver: Driver) -> Outcome {
    let arguments = format!("{NET} -o ipvlan_mode=L3");
    match driver {
        Driver::BuiltIn => ground.net_refused(driver, &arguments, "requested ipvlan mode 'L3' is not valid"),
        Driver::Ours => {
            ground.net(driver, &arguments)?;
            link_is(ground, "l3", "bridge")
        }
    }
}

fn unknown_mode(ground: &Ground, driver: Driver) -> Outcome {
    let words = match driver {
        Driver::BuiltIn => "requested ipvlan mode 'l4' is not valid",
        Driver::Ours => "unknown ipvlan_mode \"l4\" (known: l2, l3, l3s)",
    };
    ground.net_refused(driver, &format!("{NET} -o ipvlan_mode=l4"), words)
}

fn flags(ground: &Ground, driver: Driver) -> Outcome {
    for flag in ["bridge", "private", "vepa"] {
        ground.net(driver, &format!("{NET} -o ipvlan_flag={flag}"))?;
        let ignored = driver == Driver::BuiltIn && ground.old;
        let wanted = if ignored { "bridge" } else { flag };
        ground.container("other", "--net net --ip 10.6.0.77")?;
        ground.container("one", "--net net")?;
        container_is(ground, "one", "l2", wanted)?;
        match wanted {
            "bridge" => ground.pings("one", "10.6.0.77")?,
            _ => ground.does_not_ping("one", "10.6.0.77")?,
        }
        ground.run("docker rm -f one other; docker network rm net")?;
    }
    Ok(())
}

fn unknown_flag(ground: &Ground, driver: Driver) -> Outcome {
    let arguments = format!("{NET} -o ipvlan_flag=open");
    match driver {
        Driver::BuiltIn if ground.old => ground.net(driver, &arguments),
        Driver::BuiltIn => {
            ground.net_refused(driver, &arguments, "requested ipvlan flag 'open' is not valid")
        }
        Driver::Ours => ground.net_refused(
            driver,
            &arguments,
            "unknown ipvlan_flag \"open\" (known: bridge, private, vepa)",
        ),
    }
}

fn unknown_option(ground: &Ground, driver: Driver) -> Outcome {
    let arguments = format!("--subnet 10.6.0.0/24 -o parnet={CARD}");
    match driver {
        Driver::BuiltIn => {
            ground.net(driver, &arguments)?;
            match ground.dummy_of("net")? {
                Some(_) => Ok(()),
                None => Err(Failure::new("the network without a parent has no dummy")),
            }
        }
        Driver::Ours => ground.net_refused(driver, &arguments, "unknown option \"parnet\" (known: parent "),
    }
}

fn mtu(ground: &Ground, driver: Driver) -> Outcome {
    let options: &[&str] = match driver {
        Driver::BuiltIn => &["com.docker.network.driver.mtu"],
        Driver::Ours => &["com.docker.network.driver.mtu", "mtu"],
    };
    for option in options {
        ground.net(driver, &format!("{NET} -o {option}=1400"))?;
        ground.container("box", "--net net")?;
        let wanted = if driver == Driver::Ours { 1400 } else { 1500 };
        let link = ground.inside("box", "eth0")?;
        if link["mtu"] != wanted {
            return Err(Failure::new(format!("the MTU is not {wanted}")).showing(link.to_string()));
        }
        ground.run("docker rm -f box; docker network rm net")?;
    }
    Ok(())
}

fn mtu_too_large(ground: &Ground, driver: Driver) -> Outcome {
    let arguments = format!("{NET} -o com.docker.network.driver.mtu=9000");
    match driver {
        Driver::BuiltIn => ground.net(driver, &arguments),
        Driver::Ours => ground.net_refused(
            driver,
            &arguments,
            "the MTU 9000 is larger than 1500 of the parent eth2; take at most that, or raise the parent's with `ip link",
        ),
    }
}

fn inspect(ground: &Ground, driver: Driver) -> Outcome {
    ground.net(driver, &format!("{NET} -o ipvlan_mode=l3 --label colour=blue"))?;
    let said = ground.run("docker network inspect --format '{{json .}}' net")?;
    for words in [
        "\"ipvlan_mode\":\"l3\"",
        "\"parent\":\"eth2\"",
        "\"Subnet\":\"10.6.0.0/24\"",
        "\"colour\":\"blue\"",
        &format!("\"Driver\":\"{driver}\""),
    ] {
        contains(&said, words)?;
    }
    lacks(&said, "\"Internal\":true")
}

fn config_from(ground: &Ground, driver: Driver) -> Outcome {
    ground.run(&format!("docker network create --config-only {NET} -o ipvlan_mode=l3 shape"))?;
    ground.net(driver, "--config-from shape")?;
    link_is(ground, "l3", "bridge")?;
    ground.run("docker network rm shape").map(|_| ())
}
