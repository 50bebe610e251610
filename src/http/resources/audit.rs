//! Who did what.

use axum::Json;
use axum::extract::State;

use crate::domain::listing::Page;
use crate::domain::role::Permission::Audit;
use crate::engine::commands::{self, AUDIT, AuditView};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .list::<AuditView, _, _>("/api/v1/audit", Allow::May(Audit), &AUDIT, list)
        .says("Who did what, the newest first; what rules and roles refused too")
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<AuditView>>, Problem> {
    Ok(Json(commands::audit_list(&api.engine(), &wanted).await?))
}
