//! No room on the disk, or a disk that takes no writes: effects are turned back with nothing sent,
//! reads go on, and when there is room again so do effects, without a restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::house::House;
use crate::support::shop::Shop;

/// Effects until one finds no room, then the same with room again.
fn starves_and_recovers(
    house: &House,
    shop: &Shop,
    (starve, feed): (&dyn Fn() -> bool, &dyn Fn()),
) {
    assert_eq!(house.refund("A-0", "25.00", "k-0").status, 200);
    assert!(starve(), "the disk could not be filled");
    // What was set aside before the disk was full may still be used up.
    let full = (1..200).find(|n| {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        let reply = house.refund(&order, "25.00", &key);
        if reply.status == 200 {
            assert_eq!(shop.made_of(&order), 1);
            return false;
        }
        assert_eq!((reply.status, &*reply.code()), (503, "undecidable"), "{reply:?}");
        assert_eq!((&reply.json()["sent"], shop.made_of(&order)), (&"no".into(), 0));
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        true
    });
    let full = full.expect("the disk is never full");
    let (order, key) = (format!("A-{full}"), format!("k-{full}"));
    for n in 200..210 {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        let reply = house.refund(&order, "25.00", &key);
        assert_eq!((reply.status, &*reply.code()), (503, "undecidable"), "{reply:?}");
        assert_eq!(shop.made_of(&order), 0, "it was sent without a record");
    }
    assert_eq!(house.get("/orders/A-1").status, 200, "reads go on");

    feed();
    let call = house.refund_call(&order, "25.00", &key);
    let now = house.until(&call, |reply| reply.status == 200);
    assert_eq!((now.header("idempotent-replayed"), shop.made_of(&order)), (None, 1), "{now:?}");
    assert_eq!(house.refund("A-0", "25.00", "k-0").header("idempotent-replayed"), Some("true"));
    for n in 200..210 {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        assert_eq!(house.refund(&order, "25.00", &key).status, 200);
        assert_eq!(shop.made_of(&order), 1);
    }
    let verified = house.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Sets how far any file of the process may reach; `None` is as far as it likes.
fn limit(house: &House, bytes: Option<u64>) {
    let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let set = Command::new("prlimit")
        .args(["--pid", &house.process.id().to_string(), &format!("--fsize={bytes}:unlimited")])
        .status()
        .expect("prlimit is missing: it is part of util-linux");
    assert!(set.success());
}

#[test]
fn a_disk_that_takes_no_writes_turns_effects_back() {
    let shop = Shop::open();
    // A file that reaches its limit raises a signal, which a full disk does not.
    let mut house = House::configured(&shop.url(), "", "trap '' XFSZ;");
    let starve = || {
        limit(&house, Some(1));
        true
    };
    starves_and_recovers(&house, &shop, (&starve, &|| limit(&house, None)));
    house.crash();
    assert_eq!(house.refund("A-0", "25.00", "k-0").header("idempotent-replayed"), Some("true"));
    assert_eq!(house.verify().code, 0);
}

/// A small file system of its own.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn fill(&self) -> bool {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        let block = [7; 4096];
        (0..10_000).any(|_| file.write_all(&block).is_err())
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the house may still have files open there.
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_turns_effects_back() {
    let home = tempfile::tempdir().unwrap();
    let shop = Shop::open();
    let Some(disk) = Disk::mount(&home.path().join("data")) else {
        println!("not root: the disk is only limited, by the test above");
        return;
    };
    let mut house = House::configured_in(home, &shop.url(), "", "");
    starves_and_recovers(&house, &shop, (&|| disk.fill(), &|| disk.empty()));
    // Full again, and killed: what was acknowledged outlives both.
    assert!(disk.fill());
    house.process.kill();
    disk.empty();
    std::thread::sleep(Duration::from_millis(10));
    house.again();
    assert_eq!(house.refund("A-0", "25.00", "k-0").header("idempotent-replayed"), Some("true"));
    assert_eq!(house.verify().code, 0);
    house.process.kill();
}
