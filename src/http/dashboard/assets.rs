//! Stylesheet, script and mark. Their address changes with their contents, so that a browser keeps them for ever.

use std::sync::LazyLock;

use axum::http::Method;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::domain::secret::Secret;
use crate::http::routes::{Allow, Routes};

const STYLE: &str = include_str!("assets/rekeyd.css");
const SCRIPT: &str = include_str!("assets/rekeyd.js");
const MARK: &str = include_str!("assets/rekeyd.svg");

/// Differs when anything in them does.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Secret::new([STYLE, SCRIPT, MARK].concat()).sha256_hex();
    digest.truncate(12);
    digest
});

/// The page of the login needs them, so everybody may have them: nothing of this installation is in them.
pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/assets/rekeyd.css", Allow::Anyone, async || file("text/css; charset=utf-8", STYLE))
        .at(Method::GET, "/assets/rekeyd.js", Allow::Anyone, async || {
            file("text/javascript; charset=utf-8", SCRIPT)
        })
        .at(Method::GET, "/assets/rekeyd.svg", Allow::Anyone, async || file("image/svg+xml", MARK))
}

fn file(media: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media), (CACHE_CONTROL, "public, max-age=31536000, immutable")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_small_and_load_nothing_from_elsewhere() {
        assert!(STYLE.len() <= 14 * 1024, "{}", STYLE.len());
        assert!(SCRIPT.len() <= 5 * 1024, "{}", SCRIPT.len());
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("//www") && !text.contains("http") && !text.contains("@import"));
        }
    }
}
