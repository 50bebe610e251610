//! One write: a public key, a sealed box, a `PUT`.

use http::Method;
use serde_json::{Value, json};

use super::api::Call;
use super::sharing::Sharing;
use super::{Github, PublicKey, proof, seal, sharing};
use crate::destination::Delivery;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::time::Timestamp;
use crate::net::{Answer, Deadline};

impl Github {
    /// The key to seal for, and GitHub's clock when it gave it.
    pub(super) async fn public_key(&self, deadline: Deadline) -> Result<(PublicKey, Timestamp), Failure> {
        let answer = self.get(self.place.public_key_path(), &self.advice, deadline).await?;
        let date = answer.date.ok_or_else(|| {
            answer.failure(FailureKind::Unclear, "GitHub's answer has no `Date`: a write could not be proved")
        })?;
        Ok((answer.json()?, date))
    }

    /// The key for a write that can be proved: not in the second of the write before it (see `proof`). A
    /// rotation right after another one, or after a person's change, would else need a second publish.
    #[expect(
        clippy::disallowed_methods,
        reason = "at most two seconds, on GitHub's clock, not a wait for a state"
    )]
    async fn key_after(
        &self,
        before: Option<&str>,
        deadline: Deadline,
    ) -> Result<(PublicKey, Timestamp), Failure> {
        let mut found = self.public_key(deadline).await?;
        for _ in 0..2 {
            if !proof::same_second(before, found.1) {
                break;
            }
            tokio::time::sleep(proof::SECOND.to_std()).await;
            found = self.public_key(deadline).await?;
        }
        Ok(found)
    }

    /// Puts, again after a 422.
    pub(super) async fn put(
        &self,
        delivery: &Delivery,
        before: Option<&str>,
        sharing: Option<&Sharing>,
        deadline: Deadline,
    ) -> Result<(Answer, Timestamp), Failure> {
        let fields = |ids| sharing.map(|sharing| sharing.fields(ids)).unwrap_or_default();
        let (first, repeats) = sharing::attempts(self.place.store, sharing);
        let mut end = self.put_once(delivery, before, fields(first), deadline).await;
        for ids in repeats {
            if !end.as_ref().is_err_and(|failure| failure.status == Some(422)) {
                break;
            }
            end = self.put_once(delivery, before, fields(*ids), deadline).await;
        }
        end
    }

    /// One attempt: seal for a fresh key and put.
    async fn put_once(
        &self,
        delivery: &Delivery,
        before: Option<&str>,
        fields: Vec<(&'static str, Value)>,
        deadline: Deadline,
    ) -> Result<(Answer, Timestamp), Failure> {
        let (given, key_date) = self.key_after(before, deadline).await?;
        let unusable = || Failure::new(FailureKind::Unclear, "GitHub's public key is not 32 bytes in base64");
        let key = seal::public_key(&given.key).ok_or_else(unusable)?;
        let sealed = seal::seal(&key, &delivery.secret).ok_or_else(unusable)?;
        let mut body = json!({ "encrypted_value": sealed, "key_id": given.key_id });
        for (name, value) in fields {
            body[name] = value;
        }
        let path = self.place.secret_path();
        let call = Call { method: Method::PUT, path, body: Some(body), advice: &self.advice };
        Ok((self.api.call(call, deadline).await?, key_date))
    }
}
