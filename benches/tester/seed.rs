//! Keys in the store: a few thousand by the program itself, a million by SQL.

use rekeyd::crypto::{Purpose, Use};
use rekeyd::domain::secret::Secret;
use rekeyd::sim::vendors::Vendors;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::stage::Stage;

/// Stores so many keys of a vendor's simulator under the name `bench`; all are due at once.
pub async fn due_keys(stage: &Stage, vendors: &Vendors, count: usize) -> anyhow::Result<()> {
    let url = vendors.base_url("openai");
    stage.rekeyd(&["providers", "add", "bench", "--kind", "openai", "--base-url", &url], "").await?;
    let lines: Vec<String> = (0..count).map(|_| format!("bench {}", vendors.new_key("openai"))).collect();
    stage.rekeyd(&["keys", "import", "-", "--no-test"], &lines.join("\n")).await?;
    // However the program spreads what it imports: here all of it is due.
    stage.connect().await?.execute("UPDATE keys SET next_look_at = 0").await?;
    Ok(())
}

/// Rows of one statement.
const TOGETHER: usize = 1_000;

/// Makes so many rows of keys, with true secrets of nobody, next due in milliseconds from 1970: the first `due` of them at
/// once, the others at `later` and after it, a quarter of an hour in all.
pub async fn rows(stage: &Stage, count: usize, due: usize, later: i64) -> anyhow::Result<()> {
    // Any first command makes a new store ours; rows that were there before would be taken over one by one.
    stage.rekeyd(&["keys", "list"], "").await?;
    let mut store = stage.connect().await?;
    let provider =
        "INSERT INTO providers (name, kind, next_number, created_at) VALUES ('groq', 'groq', 1, 0)";
    let mut tx = store.begin().await?;
    tx.execute(provider).await?;
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(TOGETHER) {
        let rows: Vec<String> =
            some.iter().map(|n| row(stage, *n, count, due, later)).collect::<anyhow::Result<_>>()?;
        let insert = format!(
            "INSERT INTO keys (id, provider, number, name, priority, is_active, settings, secret, fingerprint, mask, role,
               origin, verdict, created_at, updated_at, looked_at, next_look_at) VALUES {}",
            rows.join(", ")
        );
        tx.execute(AssertSqlSafe(insert)).await?;
    }
    tx.commit().await?;
    store.execute("ANALYZE").await?;
    Ok(())
}

fn row(stage: &Stage, n: usize, count: usize, due: usize, later: i64) -> anyhow::Result<String> {
    let id = format!("key-{n:07}");
    let purpose = Purpose { provider: Some("groq"), ..Purpose::of(Use::Key, &id) };
    let secret = stage.ring.seal(stage.ring.first(), &purpose, &Secret::new(format!("gsk_false{n:047}")))?;
    let next = if n <= due { i64::try_from(n)? } else { later + i64::try_from(n * 900_000 / count)? };
    Ok(format!(
        "('{id}', 'groq', {n}, 'key {n}', 100, 1, '{{}}', '{}', 'print {n}', 'gsk_fal...{:04}', 'manual', 'given', 'valid', 1, \
         1, 1, {next})",
        secret.token,
        n % 10_000
    ))
}
