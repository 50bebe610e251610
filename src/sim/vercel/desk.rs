//! The desk where calls are answered: one lock, one visit to the world a call.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::super::clock::Clock;
use super::super::wire::{Answer, Call};
use super::super::world::Vendor;
use super::cloud::Cloud;
use super::shape;

/// The simulated vendor.
pub(super) struct Desk {
    clock: Arc<Clock>,
    cloud: Mutex<Cloud>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, cloud: Mutex::default() }
    }

    /// The world as it is now.
    pub(super) fn visit(&self) -> MutexGuard<'_, Cloud> {
        let mut cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        cloud.now = self.clock.now();
        cloud.catch_up();
        cloud
    }
}

impl Vendor for Desk {
    fn label(&self, call: &Call) -> &'static str {
        match (call.method.as_str(), call.path().as_slice()) {
            ("GET", ["v8" | "v9" | "v10", "projects", _, "env"]) => "list_envs",
            ("POST", ["v9" | "v10", "projects", _, "env"]) => "create_env",
            ("GET", ["v1", "projects", _, "env", _]) => "read_env",
            ("PATCH", ["v9", "projects", _, "env", _]) => "patch_env",
            ("DELETE", ["v9", "projects", _, "env", _]) => "delete_env",
            ("GET", ["v9", "projects", _]) => "read_project",
            ("POST", ["v10", "projects", _, "promote", _]) => "promote",
            ("POST", ["v13", "deployments"]) => "create_deployment",
            ("GET", ["v13", "deployments", _]) => "read_deployment",
            ("GET", ["v6" | "v7", "deployments"]) => "list_deployments",
            ("GET", ["v2", "user"]) => "read_user",
            _ => "unknown",
        }
    }

    fn answer(&self, call: &Call) -> Answer {
        let mut cloud = self.visit();
        let path = call.path();
        let piece = |at: usize| path.get(at).copied().unwrap_or_default();
        let (second, fourth) = (piece(2), piece(4));
        let answer = cloud.admit(call).and_then(|()| match self.label(call) {
            "list_envs" => cloud.list_envs(call, second),
            "create_env" => cloud.create_env(call, second),
            "read_env" => cloud.read_env(call, second, fourth),
            "patch_env" => cloud.patch_env(call, second, fourth),
            "delete_env" => cloud.delete_env(call, second, fourth),
            "read_project" => cloud.read_project(call, second),
            "promote" => cloud.promote(call, second, fourth),
            "create_deployment" => cloud.create_deployment(call),
            "read_deployment" => cloud.read_deployment(call, second),
            "list_deployments" => cloud.list_deployments(call),
            "read_user" => {
                Ok(Answer::json(200, &json!({"user": {"id": "user_simulated", "username": "sim"}})))
            }
            _ => Err(shape::not_found("Endpoint")),
        });
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn error_body(&self, status: u16) -> Value {
        shape::passing_error(status, self.clock.now().timestamp())
    }
}
