//! What any key may do: say who it is, see the credits; and what regular keys are for: a chat call.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::wire::{Answer, Call};
use super::books::{Books, Caller};
use super::row::KeyRow;
use super::settings::LimitRefusal;
use super::shape::{self, Identity, TimeForm};

impl Books {
    pub(super) fn whoami(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let data = match self.caller(call.bearer(), now)? {
            Caller::Provisioning { account_id, label } => {
                let hide = self.settings.provisioning_workspace_is_null;
                let account = self.account(&account_id);
                let workspace = (!hide).then(|| account.default_workspace());
                let (creator, organization) = (account.user_id.as_str(), account.organization_id.as_deref());
                let who = Identity { label: &label, creator, organization, workspace, row: None };
                shape::current_key(&who, TimeForm::Zulu)
            }
            Caller::Regular { index } => {
                self.keys[index].roll_periods(now);
                if self.settings.whoami_moves_last_used {
                    self.keys[index].record_use(0.0, now);
                }
                let row = self.keys[index].shown(self.settings.usage_lag, now);
                let account = self.owner(index);
                let (creator, organization) = (account.user_id.as_str(), account.organization_id.as_deref());
                let workspace = Some(row.workspace_id.as_str());
                let who = Identity { label: &row.label, creator, organization, workspace, row: Some(&row) };
                shape::current_key(&who, TimeForm::Zulu)
            }
        };
        Ok(Answer::json(200, &json!({"data": data})))
    }

    pub(super) fn credits(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = match self.caller(call.bearer(), now)? {
            Caller::Provisioning { account_id, .. } => account_id,
            Caller::Regular { index } => self.keys[index].row.account_id.clone(),
        };
        let account = self.account(&account_id);
        let (total, used) = (shape::amount(account.total_credits), shape::amount(account.total_usage));
        Ok(Answer::json(200, &json!({"data": {"total_credits": total, "total_usage": used}})))
    }

    /// Whether an agent's call with this credential would be served; the index of its key.
    pub(super) fn admit(&mut self, credential: Option<&str>, now: DateTime<Utc>) -> Result<usize, Answer> {
        let Caller::Regular { index } = self.caller(credential, now)? else {
            return Err(shape::error(401, "User not found."));
        };
        self.keys[index].roll_periods(now);
        let (row, account) = (&self.keys[index].row, self.owner(index));
        if row.limit_remaining().is_some_and(|left| left <= 0.0) {
            return Err(self.over_limit(row, &account.user_id));
        }
        if account.total_usage >= account.total_credits {
            let text = "Insufficient credits. Add more using https://openrouter.ai/settings/credits";
            return Err(shape::error_for(&account.user_id, 402, text, None));
        }
        Ok(index)
    }

    fn over_limit(&self, row: &KeyRow, user: &str) -> Answer {
        let period = row.limit_reset.as_deref().unwrap_or("total");
        let text = format!(
            "Key limit exceeded ({period} limit). Manage it using https://openrouter.ai/settings/keys"
        );
        match self.settings.limit_refusal {
            LimitRefusal::Forbidden => shape::error_for(user, 403, &text, None),
            LimitRefusal::PaymentRequired => {
                shape::error_for(user, 402, &text, Some(json!({"limit_source": "openrouter_key_limit"})))
            }
        }
    }

    pub(super) fn spend(&mut self, index: usize, usd: f64, now: DateTime<Utc>) {
        self.keys[index].record_use(usd, now);
        let account_id = self.keys[index].row.account_id.clone();
        self.account(&account_id).total_usage += usd;
    }

    pub(super) fn chat(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let index = self.admit(call.bearer(), now)?;
        let body = call.json().unwrap_or_default();
        let Some(model) = body["model"].as_str().filter(|model| !model.is_empty()) else {
            return Err(shape::error(400, "No models provided"));
        };
        if body["messages"].as_array().is_none_or(Vec::is_empty) {
            return Err(shape::error(400, "Input required: specify \"prompt\" or \"messages\""));
        }
        let cost = self.settings.chat_cost_usd;
        self.spend(index, cost, now);
        let message = json!({"role": "assistant", "content": "ok"});
        Ok(Answer::json(
            200,
            &json!({
                "id": format!("gen-{}", now.timestamp_millis()),
                "object": "chat.completion",
                "created": now.timestamp(),
                "model": model,
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": cost},
            }),
        ))
    }
}

/// The list that is public: a 200 for anyone, and no proof of a key.
pub(super) fn models() -> Answer {
    let model = json!({"id": "simulated/small", "name": "Simulated: Small", "context_length": 8192});
    Answer::json(200, &json!({"data": [model]}))
}
