//! The two tables of an application's database, read once, to take its keys over.

use std::path::Path;

use sqlx::Row;

use super::link::Server;
use super::refusal;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::net::Deadline;

/// Every key in `provider_api_keys`, as a JSON array of rows with provider, key, priority and whether it is active. The last
/// two are columns that this program added: a table without them is read too.
pub async fn stored_keys(
    url: &Secret,
    ca_file: Option<&Path>,
    deadline: Deadline,
) -> Result<Secret, Failure> {
    let server = Server::new(url, ca_file)?;
    let mut link = server.open(deadline).await?;
    let statement = sqlx::query(
        "SELECT COALESCE(json_agg(json_build_object('provider', p.provider_name, 'key', k.api_key,
             'priority', to_jsonb(k) -> 'priority', 'is_active', to_jsonb(k) -> 'is_active')
             ORDER BY p.provider_name, k.key_number), '[]')::text AS keys
         FROM provider_api_keys k JOIN providers p ON p.id = k.provider_id",
    );
    let row = link.row(statement, None).await?;
    let text = row.and_then(|row| row.try_get::<String, _>("keys").ok());
    text.map(Secret::new).ok_or_else(|| refusal::not_sent("the tables of keys cannot be read"))
}
