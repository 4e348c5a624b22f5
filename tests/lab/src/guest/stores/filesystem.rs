//! A directory of an NFS server.

use std::time::Duration;

use super::StoreServer;
use crate::failure::Outcome;
use crate::guest::host::Host;
use crate::guest::lab::Lab;
use crate::guest::wait;

/// Where hosts mount it.
const AT: &str = "/mnt/shared";

/// The kernel's NFS server on the host 10.1.1.1.
pub(crate) struct SharedDirectory {
    host: Host,
}

impl SharedDirectory {
    /// Makes the host, and a directory there that the wire may write to.
    ///
    /// # Errors
    /// Where the server does not come up.
    pub(crate) fn new(lab: &mut Lab) -> Outcome<Self> {
        let host = lab.host("nfs", 1)?;
        // What is exported must be a file system that the kernel can name by a handle, which an overlay is not.
        host.run(
            "set -e; mkdir -p /srv/shared /var/lib/nfs/v4recovery; mount -t tmpfs shared /srv/shared; \
             mkdir /srv/shared/ipvland; mount -t nfsd nfsd /proc/fs/nfsd; \
             echo '/srv/shared 10.1.1.0/24(rw,fsid=0,no_root_squash,no_subtree_check,sync)' >/etc/exports",
        )?;
        // After a start, locks are given out when those of before had this many seconds to be claimed again.
        host.run("echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime")?;
        let this = Self { host };
        this.start()?;
        Ok(this)
    }
}

impl StoreServer for SharedDirectory {
    fn tables(&self) -> String {
        format!(
            "[store]\nkind = \"filesystem\"\n\n[store.filesystem]\npath = \"{AT}/ipvland\"\ninterval = \"3s\"\ntimeout = \"10s\"\n"
        )
    }

    fn prepare(&self, host: &Host) -> Outcome {
        host.run(&format!(
            "mkdir -p {AT} && mount -t nfs4 -o vers=4.2,soft,timeo=30,retrans=1 {}:/ {AT}",
            self.host.address()
        ))?;
        Ok(())
    }

    fn start(&self) -> Outcome {
        self.host.run("exportfs -ra")?;
        self.host.start("mountd", "rpc.mountd --foreground --no-nfs-version 3")?;
        self.host.run("rpc.nfsd --no-nfs-version 3 4")?;
        wait::holds("the NFS server listens", Duration::from_secs(20), || {
            Ok(self.host.attempt("grep -q 2049 /proc/fs/nfsd/portlist")?.code == 0)
        })?;
        Ok(())
    }

    fn stop(&self) -> Outcome {
        self.host.run("rpc.nfsd 0")?;
        self.host.signal("mountd", "TERM")?;
        self.host.ended("mountd", Duration::from_secs(10))?;
        Ok(())
    }
}
