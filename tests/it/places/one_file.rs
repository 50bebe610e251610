//! Several variables of one file, written at once: in one process or in several, each write has a lock of its own.

use std::path::Path;
use std::time::Duration;

use rekeyd::destination::file::{File, FileSpec, Format};
use rekeyd::destination::{Delivery, Destination};
use rekeyd::domain::secret::Secret;
use rekeyd::net::Deadline;

const VARIABLES: usize = 6;
const ROUNDS: usize = 20;

fn destination(path: &Path, variable: usize) -> File {
    let format = Format::Env { variable: format!("KEY_{variable}") };
    File::new(FileSpec {
        path: path.into(),
        format,
        mode: None,
        owner: None,
        group: None,
        unsafe_folder: false,
    })
}

/// A value of a key's length for each round of each variable.
fn value(variable: usize, round: usize) -> String {
    format!("sk-or-v1-{variable:032}{round:032}")
}

async fn write_all_rounds(file: File, variable: usize) {
    for round in 0..ROUNDS {
        let delivery = Delivery {
            secret: Secret::new(value(variable, round)),
            rotation: format!("rotation-{variable}"),
            generation: i64::try_from(round).unwrap(),
            destination: "agent-env".to_owned(),
        };
        file.publish(&delivery, Deadline::after(Duration::from_mins(1))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn variables_of_one_file_never_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.env");
    let padding = "# padding\n".repeat(2000);
    std::fs::write(&path, format!("OTHER=1\n{padding}")).unwrap();
    let write = |variable| tokio::spawn(write_all_rounds(destination(&path, variable), variable));
    let writers: Vec<_> = (0..VARIABLES).map(write).collect();
    // A reader never sees half a file.
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&padding) && text.ends_with('\n'), "half a file: {} bytes", text.len());
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for variable in 0..VARIABLES {
        let line = format!("KEY_{variable}={}\n", value(variable, ROUNDS - 1));
        assert!(text.contains(&line), "lost: {line}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}
