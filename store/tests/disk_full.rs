//! A disk without space: sends are refused, reads go on, and all is well again once there is space.
//!
//! The disk is full for a child process, whose files may not grow beyond a limit: that fails at the same calls, needs no
//! privileges, and can be ended.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::{
    env,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use room::{List, Seq};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{RoomLog as _, Store, StoreError};
use support::{Heard, all, message, named, open, room};

const CHILD_DIR: &str = "BIGROOM_TEST_DISK_FULL_DIR";
const FILE_BYTES_MAX: u64 = 3 << 20;

#[test]
fn full_disk_refuses_sends_until_there_is_space() {
    let name = "full_disk_refuses_sends_until_there_is_space";
    if let Ok(dir) = env::var(CHILD_DIR) {
        return tokio::runtime::Runtime::new().unwrap().block_on(fill_and_recover(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    // A file that would grow beyond its limit costs a process its life, unless it ignores the signal; the shell's trap
    // is inherited.
    let status = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" --exact "$1" --nocapture"#])
        .arg(env::current_exe().unwrap())
        .arg(name)
        .env(CHILD_DIR, dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

async fn fill_and_recover(dir: &Path) {
    let store = open(dir);
    let heard = Heard::on(&*store);
    let room = room("r");
    let text = "x".repeat(10_000);
    let mut acknowledged = 0;
    for episode in 0..2 {
        limit_files(Some(FILE_BYTES_MAX));
        let refused = loop {
            match store.append(message(&room, List::Normal, &text)).await {
                Ok(appended) => acknowledged = appended.seq.0,
                Err(error) => break error,
            }
            assert!(acknowledged < 5_000, "the limit does not hold");
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        // New files would have some room up to the limit, which a full disk has not.
        limit_files(Some(0));
        // As long as it lasts, also while the store tries to get well again.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let refused = store.append(message(&room, List::Normal, &text)).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
            assert!(matches!(store.health(), Err(StoreError::Unavailable(_))));
            assert_eq!(all(&*store, &room, List::Normal).await.len() as u64, acknowledged);
            assert_eq!(store.view(&room).await.unwrap().bounds.normal.last, Seq(acknowledged));
        }
        limit_files(None);
        let freed = Instant::now();
        let appended = loop {
            match store.append(named(&room, List::Normal, &format!("after-{episode}"), "again")).await {
                Ok(appended) => break appended,
                Err(error) => assert!(freed.elapsed() < Duration::from_secs(30), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(store.health().is_ok());
        assert_eq!(appended.seq, Seq(acknowledged + 1), "nothing of a refused send is there");
        acknowledged = appended.seq.0;
    }
    let expect: Vec<_> = (1..=acknowledged).collect();
    assert_eq!(heard.appended(&room, List::Normal), expect);
    drop(store);
    let store: Arc<_> = open(dir);
    assert_eq!(support::seqs(&all(&*store, &room, List::Normal).await), expect);
}
