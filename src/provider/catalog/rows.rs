//! The rows of the catalog, in the order of providers.md.

use super::Capability::{Audio, Chat, Embeddings, Image, RotatesByApi, Search, Video};
use super::{Auth, CatalogRow, KeyForm, Probe, Rest, Verb, rules};
use crate::domain::time::Span;
use crate::domain::verdict::rule::Sign;

const fn get(path: &'static str) -> Probe {
    Probe {
        verb: Verb::Get,
        path,
        auth: Auth::Bearer,
        headers: &[],
        optional_headers: &[],
        path_setting: None,
    }
}

const fn get_with(path: &'static str, header: &'static str) -> Probe {
    Probe { auth: Auth::Header(header), ..get(path) }
}

const fn form(prefix: &'static str, rest: Rest) -> KeyForm {
    KeyForm { prefix, rest }
}

/// What a row is unless it says otherwise: a model that talks.
const ROW: CatalogRow = CatalogRow {
    name: "",
    title: "",
    description: "",
    key_format: "",
    docs_url: "",
    base_url: "",
    probe: get("models"),
    proof: Sign::Array("/data"),
    rules: &[],
    forms: &[],
    expires: None,
    negative_control: false,
    min_interval: None,
    chat: None,
    two_kinds: false,
    capabilities: &[Chat],
};

/// A body that is JSON and no error.
const NO_ERROR: Sign = Sign::All(&[Sign::Json, Sign::Absent("/error"), Sign::Absent("/detail")]);

/// Every provider.
pub const CATALOG: &[CatalogRow] = &[
    CatalogRow {
        name: "openrouter",
        title: "OpenRouter",
        description: "One API for the models of many vendors; keys are issued and rotated by rekeyd",
        key_format: "sk-or-v1- and 64 hexadecimal digits",
        docs_url: "https://openrouter.ai/docs/api-reference/authentication",
        base_url: "https://openrouter.ai/api/v1",
        probe: get("key"),
        proof: rules::OPENROUTER_PROOF,
        rules: rules::OPENROUTER,
        forms: &[form("sk-or-v1-", Rest::Hex(64))],
        expires: Some("/data/expires_at"),
        chat: Some("chat/completions"),
        two_kinds: true,
        capabilities: &[Chat, Embeddings, Image, RotatesByApi],
        ..ROW
    },
    CatalogRow {
        name: "openai",
        title: "OpenAI",
        description: "GPT, reasoning, image and audio models",
        key_format: "sk-proj-…, sk-svcacct-…, sk-admin-… or sk-…",
        docs_url: "https://platform.openai.com/docs/api-reference/authentication",
        base_url: "https://api.openai.com/v1",
        probe: Probe {
            optional_headers: &[("organization", "OpenAI-Organization"), ("project", "OpenAI-Project")],
            ..get("models")
        },
        proof: Sign::Text("/object", "list"),
        rules: rules::OPENAI,
        forms: &[
            form("sk-proj-", Rest::Any),
            form("sk-svcacct-", Rest::Any),
            form("sk-admin-", Rest::Any),
            form("sk-", Rest::Any),
        ],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Embeddings, Image, Audio],
        ..ROW
    },
    CatalogRow {
        name: "anthropic",
        title: "Anthropic",
        description: "Claude models",
        key_format: "sk-ant-api03-…; admin keys sk-ant-admin01-…",
        docs_url: "https://docs.anthropic.com/en/api/overview",
        base_url: "https://api.anthropic.com/v1",
        probe: Probe {
            headers: &[("anthropic-version", "2023-06-01")],
            ..get_with("models?limit=1", "x-api-key")
        },
        rules: rules::ANTHROPIC,
        forms: &[form("sk-ant-api03-", Rest::Any), form("sk-ant-admin01-", Rest::Any)],
        ..ROW
    },
    CatalogRow {
        name: "google",
        title: "Google AI",
        description: "Gemini models",
        key_format: "AIza and 35 characters, or AQ.…",
        docs_url: "https://ai.google.dev/gemini-api/docs/api-key",
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        probe: get_with("models?pageSize=1", "x-goog-api-key"),
        proof: Sign::Array("/models"),
        rules: rules::GOOGLE,
        forms: &[form("AIza", Rest::Long(35)), form("AQ.", Rest::Any)],
        capabilities: &[Chat, Embeddings, Image, Video, Audio],
        ..ROW
    },
    CatalogRow {
        name: "cohere",
        title: "Cohere",
        description: "Command, Embed and Rerank models",
        key_format: "40 letters and digits",
        docs_url: "https://docs.cohere.com/reference/checkapikey",
        base_url: "https://api.cohere.com/v1",
        probe: Probe { verb: Verb::Post, ..get("check-api-key") },
        proof: Sign::Is("/valid", true),
        rules: rules::COHERE,
        forms: &[form("", Rest::Alphanumeric(40))],
        min_interval: Some(Span::hours(6)),
        capabilities: &[Chat, Embeddings, Search],
        ..ROW
    },
    CatalogRow {
        name: "groq",
        title: "Groq",
        description: "Open models on fast inference hardware",
        key_format: "gsk_ and 52 characters",
        docs_url: "https://console.groq.com/docs/quickstart",
        base_url: "https://api.groq.com/openai/v1",
        rules: rules::GROQ,
        forms: &[form("gsk_", Rest::Long(52))],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Audio],
        ..ROW
    },
    CatalogRow {
        name: "together",
        title: "Together AI",
        description: "Open models, serverless and dedicated",
        key_format: "tgp_v1_… or 64 hexadecimal digits",
        docs_url: "https://docs.together.ai/docs/quickstart",
        base_url: "https://api.together.ai/v1",
        probe: get("models?dedicated=true"),
        proof: Sign::Array(""),
        rules: rules::TOGETHER,
        forms: &[form("tgp_v1_", Rest::Any), form("", Rest::Hex(64))],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Embeddings, Image, Audio],
        ..ROW
    },
    CatalogRow {
        name: "mistral",
        title: "Mistral AI",
        description: "Mistral and Codestral models",
        key_format: "32 letters and digits",
        docs_url: "https://docs.mistral.ai/getting-started/quickstart/",
        base_url: "https://api.mistral.ai/v1",
        rules: rules::MISTRAL,
        forms: &[form("", Rest::Alphanumeric(32))],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Embeddings, Audio],
        ..ROW
    },
    CatalogRow {
        name: "deepinfra",
        title: "DeepInfra",
        description: "Open models, serverless",
        key_format: "32 letters and digits, or jwt:…",
        docs_url: "https://deepinfra.com/docs",
        base_url: "https://api.deepinfra.com/v1",
        probe: get("me"),
        proof: Sign::All(&[Sign::Object(""), NO_ERROR]),
        rules: rules::DEEPINFRA,
        forms: &[form("", Rest::Alphanumeric(32)), form("jwt:", Rest::Any)],
        chat: Some("openai/chat/completions"),
        capabilities: &[Chat, Embeddings, Image, Audio],
        ..ROW
    },
    CatalogRow {
        name: "perplexity",
        title: "Perplexity",
        description: "Sonar models with web search",
        key_format: "pplx- and 48 characters",
        docs_url: "https://docs.perplexity.ai/getting-started/quickstart",
        base_url: "https://api.perplexity.ai",
        probe: get("async/chat/completions"),
        proof: NO_ERROR,
        rules: rules::PERPLEXITY,
        forms: &[form("pplx-", Rest::Long(48))],
        negative_control: true,
        chat: Some("chat/completions"),
        capabilities: &[Chat, Search],
        ..ROW
    },
    CatalogRow {
        name: "runway",
        title: "Runway",
        description: "Video and image models",
        key_format: "key_…",
        docs_url: "https://docs.dev.runwayml.com/",
        base_url: "https://api.dev.runwayml.com/v1",
        probe: Probe { headers: &[("X-Runway-Version", "2024-11-06")], ..get("organization") },
        proof: Sign::Number("/creditBalance"),
        rules: rules::RUNWAY,
        forms: &[form("key_", Rest::Any)],
        capabilities: &[Image, Video, Audio],
        ..ROW
    },
    CatalogRow {
        name: "custom",
        title: "Custom",
        description: "Any OpenAI-compatible endpoint, by its base URL",
        key_format: "whatever the endpoint takes",
        docs_url: "https://platform.openai.com/docs/api-reference/models/list",
        probe: Probe { path_setting: Some("models_path"), ..get("models") },
        rules: rules::CUSTOM,
        negative_control: true,
        chat: Some("chat/completions"),
        ..ROW
    },
    CatalogRow {
        name: "xai",
        title: "xAI",
        description: "Grok models",
        key_format: "xai-…",
        docs_url: "https://docs.x.ai/docs/overview",
        base_url: "https://api.x.ai/v1",
        probe: get("api-key"),
        proof: Sign::All(&[
            Sign::Is("/api_key_blocked", false),
            Sign::Is("/api_key_disabled", false),
            Sign::Is("/team_blocked", false),
        ]),
        rules: rules::XAI,
        forms: &[form("xai-", Rest::Any)],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Image],
        ..ROW
    },
    CatalogRow {
        name: "deepseek",
        title: "DeepSeek",
        description: "DeepSeek models",
        key_format: "sk- and 32 hexadecimal digits",
        docs_url: "https://api-docs.deepseek.com/",
        base_url: "https://api.deepseek.com",
        probe: get("user/balance"),
        proof: Sign::Is("/is_available", true),
        rules: rules::DEEPSEEK,
        forms: &[form("sk-", Rest::Hex(32))],
        chat: Some("chat/completions"),
        ..ROW
    },
    CatalogRow {
        name: "fireworks",
        title: "Fireworks AI",
        description: "Open models, serverless and on demand",
        key_format: "fw_…",
        docs_url: "https://docs.fireworks.ai/getting-started/quickstart",
        base_url: "https://api.fireworks.ai/inference/v1",
        rules: rules::FIREWORKS,
        forms: &[form("fw_", Rest::Any)],
        chat: Some("chat/completions"),
        capabilities: &[Chat, Embeddings, Image, Audio],
        ..ROW
    },
    CatalogRow {
        name: "huggingface",
        title: "Hugging Face",
        description: "Inference providers and the model hub",
        key_format: "hf_ and 34 characters",
        docs_url: "https://huggingface.co/docs/hub/security-tokens",
        base_url: "https://huggingface.co/api",
        probe: get("whoami-v2"),
        proof: Sign::Object("/auth/accessToken"),
        rules: rules::HUGGINGFACE,
        forms: &[form("hf_", Rest::Long(34))],
        expires: Some("/auth/expiresAt"),
        capabilities: &[Chat, Embeddings, Image, Audio],
        ..ROW
    },
    CatalogRow {
        name: "replicate",
        title: "Replicate",
        description: "Image, video and open models",
        key_format: "r8_ and 37 characters",
        docs_url: "https://replicate.com/docs/reference/http",
        base_url: "https://api.replicate.com/v1",
        probe: get("account"),
        proof: Sign::AnyText("/username"),
        rules: rules::REPLICATE,
        forms: &[form("r8_", Rest::Long(37))],
        capabilities: &[Chat, Image, Video, Audio],
        ..ROW
    },
    CatalogRow {
        name: "elevenlabs",
        title: "ElevenLabs",
        description: "Speech and voice models",
        key_format: "sk_ and 48 hexadecimal digits",
        docs_url: "https://elevenlabs.io/docs/api-reference/authentication",
        base_url: "https://api.elevenlabs.io/v1",
        probe: get_with("voices", "xi-api-key"),
        proof: Sign::Array("/voices"),
        rules: rules::ELEVENLABS,
        forms: &[form("sk_", Rest::Hex(48))],
        capabilities: &[Audio],
        ..ROW
    },
    CatalogRow {
        name: "stability",
        title: "Stability AI",
        description: "Image and video models",
        key_format: "sk- and 48 characters",
        docs_url: "https://platform.stability.ai/docs/getting-started/authentication",
        base_url: "https://api.stability.ai/v1",
        probe: get("user/balance"),
        proof: Sign::Number("/credits"),
        rules: rules::STABILITY,
        forms: &[form("sk-", Rest::Long(48))],
        capabilities: &[Image, Video, Audio],
        ..ROW
    },
    CatalogRow {
        name: "cerebras",
        title: "Cerebras",
        description: "Open models on wafer-scale hardware",
        key_format: "csk- and 48 characters",
        docs_url: "https://inference-docs.cerebras.ai/",
        base_url: "https://api.cerebras.ai/v1",
        rules: rules::CEREBRAS,
        forms: &[form("csk-", Rest::Long(48))],
        chat: Some("chat/completions"),
        ..ROW
    },
];
