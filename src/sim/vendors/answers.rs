//! What each vendor says to a key in each state, as its API description and its official clients have it.

use serde_json::{Value, json};

use crate::sim::wire::Answer;

/// The 200 of a key that works.
pub(super) fn living(vendor: &str) -> Value {
    match vendor {
        "openai" | "custom" | "cerebras" => {
            let model =
                json!({"id": "model-1", "object": "model", "created": 1_700_000_000, "owned_by": vendor});
            json!({"object": "list", "data": [model]})
        }
        "anthropic" => json!({"data": [{"type": "model", "id": "model-1", "display_name": "Model 1"}],
            "has_more": true, "first_id": "model-1", "last_id": "model-1"}),
        "google" => json!({"models": [{"name": "models/model-1", "version": "001"}], "nextPageToken": "x"}),
        "cohere" => json!({"valid": true, "organization_id": "org-1", "owner_id": "owner-1"}),
        "groq" | "mistral" | "fireworks" => {
            json!({"object": "list", "data": [{"id": "model-1", "object": "model"}]})
        }
        "together" => json!([{"id": "model-1", "object": "model", "type": "chat"}]),
        "deepinfra" => {
            json!({"uid": "u-1", "display_name": "acme", "email": "ops@example.com", "is_team_account": true})
        }
        "perplexity" => json!({"next_token": null, "requests": []}),
        "runway" => json!({"tier": {"maxMonthlyCreditSpend": 9000, "models": {}}, "creditBalance": 1200,
            "usage": {"models": {}}}),
        "xai" => {
            json!({"redacted_api_key": "xai-...b14o", "user_id": "u-1", "name": "production", "team_id": "t-1",
            "acls": ["api-key:model:*"], "api_key_id": "k-1", "api_key_blocked": false, "api_key_disabled": false,
            "team_blocked": false})
        }
        "deepseek" => {
            json!({"is_available": true, "balance_infos": [{"currency": "USD", "total_balance": "110.00",
            "granted_balance": "10.00", "topped_up_balance": "100.00"}]})
        }
        "huggingface" => json!({"type": "user", "id": "u-1", "name": "acme",
            "auth": {"type": "access_token", "accessToken": {"displayName": "production", "role": "read"}}}),
        "replicate" => json!({"type": "organization", "username": "acme", "name": "Acme Corp"}),
        "elevenlabs" => json!({"voices": [{"voice_id": "v-1", "name": "Rachel"}]}),
        "stability" => json!({"credits": 12.25}),
        other => json!({"error": format!("{other} has no answer")}),
    }
}

/// The vendor does not know the key.
pub(super) fn revoked(vendor: &str) -> Answer {
    let (status, body) = match vendor {
        "openai" | "custom" => (
            401,
            json!({"error": {"message": "Incorrect API key provided. You can find your API key \
             at https://platform.openai.com/account/api-keys.", "type": "invalid_request_error", "param": null,
             "code": "invalid_api_key"}}),
        ),
        "anthropic" => (401, typed("authentication_error", "invalid x-api-key")),
        "google" => (
            400,
            google(
                400,
                "INVALID_ARGUMENT",
                "API_KEY_INVALID",
                "API key not valid. Please pass a valid API key.",
            ),
        ),
        "cohere" => (401, json!({"message": "invalid api token"})),
        "groq" => (
            401,
            json!({"error": {"message": "Invalid API Key", "type": "invalid_request_error",
            "code": "invalid_api_key"}}),
        ),
        "mistral" => (401, json!({"message": "Unauthorized", "request_id": "r-1"})),
        "deepinfra" => (401, json!({"detail": {"error": "inactive token"}})),
        // Its front server says so, in a page.
        "perplexity" => {
            let page = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 \
                        Authorization Required</h1></center>\r\n<hr><center>openresty/1.25.3.1</center>\r\n</body>\r\n</html>\r\n";
            return Answer::of(401, "text/html", page);
        }
        "xai" => (
            400,
            json!({"code": "Client specified an invalid argument", "error": "Incorrect API key provided. You \
             can obtain an API key from https://console.x.ai."}),
        ),
        "deepseek" => (
            401,
            json!({"error": {"message": "Authentication Fails (governor)",
            "type": "authentication_error", "param": null, "code": "invalid_request_error"}}),
        ),
        "huggingface" => (401, json!({"error": "Invalid username or password."})),
        "replicate" => (
            401,
            json!({"title": "Unauthenticated", "detail": "You did not pass a valid authentication token",
            "status": 401}),
        ),
        "elevenlabs" => (401, json!({"detail": {"status": "invalid_api_key", "message": "Invalid API key"}})),
        "stability" => {
            (401, json!({"id": "e-1", "name": "unauthorized", "errors": ["missing or invalid api key"]}))
        }
        "cerebras" => (
            401,
            json!({"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key",
            "code": "wrong_api_key"}),
        ),
        _ => {
            (401, json!({"error": {"message": "Invalid API key provided", "type": "invalid_request_error"}}))
        }
    };
    Answer::json(status, &body)
}

/// The key works and may not do this.
pub(super) fn restricted(vendor: &str) -> Answer {
    let (status, body) = match vendor {
        "openai" | "custom" => (
            403,
            json!({"error": {"message": "You have insufficient permissions for this operation. \
             Missing scopes: api.model.read.", "type": "invalid_request_error", "code": "missing_scope"}}),
        ),
        "anthropic" => (
            403,
            typed("permission_error", "Your API key does not have permission to use the specified resource."),
        ),
        "google" => (
            403,
            google(403, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED", "Requests to this API are blocked."),
        ),
        "xai" => {
            let mut body = living(vendor);
            body["team_blocked"] = json!(true);
            (200, body)
        }
        "elevenlabs" => (
            401,
            json!({"detail": {"status": "missing_permissions",
            "message": "The API key you used is missing the permission voices_read to execute this operation."}}),
        ),
        _ => (403, json!({"error": {"message": "Forbidden", "type": "permission_denied"}})),
    };
    Answer::json(status, &body)
}

/// The key works and has no money left.
pub(super) fn empty(vendor: &str) -> Answer {
    let (status, body) = match vendor {
        "openai" | "custom" => (
            429,
            json!({"error": {"message": "You exceeded your current quota, please check your plan \
             and billing details.", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}),
        ),
        "anthropic" => (
            400,
            typed("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        ),
        "perplexity" => (
            401,
            json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota",
            "code": 401}}),
        ),
        "runway" => {
            let mut body = living(vendor);
            body["creditBalance"] = json!(0);
            (200, body)
        }
        "deepseek" => {
            let mut body = living(vendor);
            body["is_available"] = json!(false);
            (200, body)
        }
        "fireworks" => (
            412,
            json!({"error": "Account acme is suspended, possibly due to reaching the monthly spending limit"}),
        ),
        "elevenlabs" => (
            401,
            json!({"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota."}}),
        ),
        _ => {
            (402, json!({"error": {"message": "Payment required: no credits left", "type": "credit_limit"}}))
        }
    };
    Answer::json(status, &body)
}

/// Anthropic's form of an error.
fn typed(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// Google's form of an error.
fn google(code: u16, status: &str, reason: &str, message: &str) -> Value {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"});
    json!({"error": {"code": code, "message": message, "status": status, "details": [info]}})
}
