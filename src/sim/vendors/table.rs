//! The request of each vendor by which a key is looked at, and the form of its keys.

use crate::sim::wire::Call;

/// Where the key travels.
pub(super) enum KeyPlace {
    Bearer,
    Header(&'static str),
}

/// What a key looks like: a beginning, and so many letters and digits, or digits only.
pub(super) struct Form {
    pub(super) prefix: &'static str,
    pub(super) length: usize,
    pub(super) hex: bool,
}

pub(super) struct VendorRow {
    pub(super) name: &'static str,
    /// The path where its API begins.
    pub(super) base: &'static str,
    verb: &'static str,
    /// Below the base.
    path: &'static str,
    query: Option<(&'static str, &'static str)>,
    pub(super) place: KeyPlace,
    /// A header without which the vendor does not know what is asked.
    pub(super) version: Option<(&'static str, &'static str)>,
    pub(super) form: Form,
}

impl VendorRow {
    /// Whether this is the request, wherever its key is.
    pub(super) fn is_asked_by(&self, call: &Call) -> bool {
        let path = format!("{}{}{}", self.name, self.base, self.path);
        let query = self.query.is_none_or(|(name, value)| call.param(name) == Some(value));
        call.method.as_str() == self.verb
            && query
            && path.split('/').eq(call.segments.iter().map(String::as_str))
    }

    const fn key(mut self, prefix: &'static str, length: usize) -> Self {
        self.form = Form { prefix, length, hex: false };
        self
    }

    const fn digits(mut self, prefix: &'static str, length: usize) -> Self {
        self.form = Form { prefix, length, hex: true };
        self
    }

    const fn in_header(mut self, name: &'static str) -> Self {
        self.place = KeyPlace::Header(name);
        self
    }

    const fn version(mut self, name: &'static str, value: &'static str) -> Self {
        self.version = Some((name, value));
        self
    }

    const fn query(mut self, name: &'static str, value: &'static str) -> Self {
        self.query = Some((name, value));
        self
    }
}

const fn get(name: &'static str, base: &'static str, path: &'static str) -> VendorRow {
    let form = Form { prefix: "", length: 32, hex: false };
    let place = KeyPlace::Bearer;
    VendorRow { name, base, verb: "GET", path, query: None, place, version: None, form }
}

const fn post(name: &'static str, base: &'static str, path: &'static str) -> VendorRow {
    let get = get(name, base, path);
    VendorRow { verb: "POST", ..get }
}

pub(super) static VENDORS: [VendorRow; 19] = [
    get("openai", "/v1", "/models").key("sk-proj-", 120),
    get("anthropic", "/v1", "/models")
        .query("limit", "1")
        .in_header("x-api-key")
        .version("anthropic-version", "2023-06-01")
        .key("sk-ant-api03-", 95),
    get("google", "/v1beta", "/models").query("pageSize", "1").in_header("x-goog-api-key").key("AIza", 35),
    post("cohere", "/v1", "/check-api-key").key("", 40),
    get("groq", "/openai/v1", "/models").key("gsk_", 52),
    get("together", "/v1", "/models").query("dedicated", "true").key("tgp_v1_", 43),
    get("mistral", "/v1", "/models"),
    get("deepinfra", "/v1", "/me"),
    get("perplexity", "", "/async/chat/completions").key("pplx-", 48),
    get("runway", "/v1", "/organization").version("x-runway-version", "2024-11-06").key("key_", 128),
    get("custom", "/v1", "/models").key("house-", 32),
    get("xai", "/v1", "/api-key").key("xai-", 80),
    get("deepseek", "", "/user/balance").digits("sk-", 32),
    get("fireworks", "/inference/v1", "/models").key("fw_", 24),
    get("huggingface", "/api", "/whoami-v2").key("hf_", 34),
    get("replicate", "/v1", "/account").key("r8_", 37),
    get("elevenlabs", "/v1", "/voices").in_header("xi-api-key").digits("sk_", 48),
    get("stability", "/v1", "/user/balance").key("sk-", 48),
    get("cerebras", "/v1", "/models").key("csk-", 48),
];

pub(super) fn find(name: &str) -> Option<&'static VendorRow> {
    VENDORS.iter().find(|vendor| vendor.name == name)
}
