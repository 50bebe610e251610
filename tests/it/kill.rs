use crate::support::{Db, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debug_timing() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let start = std::time::Instant::now();
    let mut child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        println!("{:6} {line}", start.elapsed().as_millis());
    }
    for r in world.openrouter.requests().iter().chain(world.github.requests().iter()) {
        println!("{} {} {}", r.number, r.label, r.status.unwrap_or(0));
    }
}
