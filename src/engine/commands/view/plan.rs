//! `rotations plan`.

use schemars::JsonSchema;
use serde::Serialize;

/// `rotations plan`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PlanView {
    pub rotation: String,
    pub calls: Vec<PlannedStep>,
    pub warnings: Vec<String>,
}

/// One call of a plan, and at which destination; without one it is a call to the account's provider.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PlannedStep {
    pub destination: Option<String>,
    pub call: String,
    pub effect: String,
}
