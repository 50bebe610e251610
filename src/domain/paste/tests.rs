//! What people paste, and what is read of it.

use super::*;

const NAMES: [&str; 8] =
    ["openrouter", "openai", "anthropic", "google", "groq", "deepseek", "huggingface", "vision-nova"];

/// As the catalog would say.
fn by_form(key: &str) -> Vec<&'static str> {
    let starts = |prefix: &str| key.starts_with(prefix);
    match () {
        () if starts("sk-or-v1-") => vec!["openrouter"],
        () if starts("sk-ant-") => vec!["anthropic"],
        () if starts("sk-proj-") => vec!["openai"],
        () if starts("gsk_") => vec!["groq"],
        () if starts("sk-") => vec!["openai", "deepseek"],
        () => vec![],
    }
}

fn read(text: &str, of: Option<&str>) -> Vec<Pasted> {
    let names = NAMES.map(str::to_owned).to_vec();
    parse(text, of, &Vocabulary { names, by_form: &by_form })
}

/// Line, provider and key of what is offered; line and reason of what is not.
fn told(text: &str) -> Vec<String> {
    let one = |pasted: Pasted| match pasted.key {
        Ok(key) => format!("{} {} {}", pasted.line, key.provider, key.secret.expose()),
        Err(refused) => format!("{} refused {:?}: {}", pasted.line, refused.shown, refused.why),
    };
    read(text, None).into_iter().map(one).collect()
}

#[test]
fn lines_of_every_kind_are_read_beside_each_other() {
    let text = "\u{feff}# from the wiki
openai sk-proj-aaa111
export GROQ_API_KEY='gsk_bbb222' # production
GEMINI_API_KEY=AIzaccc333
HF_TOKEN_2=\"hf_ddd=444\"
vision-nova, nova-eee555
gsk_fff666

anthropic: sk-ant-ggg777
vision_nova_key: 'nova-hhh888'
MY_ROUTER=sk-or-v1-iii999
";
    assert_eq!(
        told(text),
        [
            "2 openai sk-proj-aaa111",
            "3 groq gsk_bbb222",
            "4 google AIzaccc333",
            "5 huggingface hf_ddd=444",
            "6 vision-nova nova-eee555",
            "7 groq gsk_fff666",
            "9 anthropic sk-ant-ggg777",
            "10 vision-nova nova-hhh888",
            "11 openrouter sk-or-v1-iii999",
        ]
    );
}

#[test]
fn what_offers_no_key_is_refused_and_says_why() {
    let text = "sk-0123456789abcdef0123456789abcdef
DATABASE_URL=postgres://user:hunter2@db/app
0123456789abcdef0123456789abcdef
three words here
";
    assert_eq!(
        told(text),
        [
            "1 refused \"sk-0123...cdef\": it may be of openai or deepseek: say its provider",
            "2 refused \"DATABASE_URL\": the variable is called after no provider",
            "3 refused \"0123456...cdef\": whose it is cannot be seen: say its provider",
            "4 refused \"three words here\": neither a key, nor a provider and a key, nor a variable",
        ]
    );
    assert_eq!(told(""), Vec::<String>::new());
}

#[test]
fn whoever_says_the_provider_need_not_repeat_it() {
    let keys = read("key-one\nKEY=key-two\ngroq key-three\njwt:key-four\nPORT=80", Some("custom"));
    let told: Vec<String> = keys
        .into_iter()
        .map(|pasted| {
            pasted.key.map_or_else(|why| why.why, |key| format!("{} {}", key.provider, key.secret.expose()))
        })
        .collect();
    assert_eq!(
        told,
        [
            "custom key-one",
            "custom key-two",
            "custom key-three",
            "custom jwt:key-four",
            "the variable is called after no provider"
        ]
    );
}

#[test]
fn columns_of_csv_are_found_by_their_names() {
    let text = "Provider;API Key;Name;Priority;Owner;Expires;Note
OpenAI;sk-proj-aaa111;first;60;ada@example.com;2030-01-31;\"with ; in it\"
groq;gsk_bbb222;;;;;
;sk-or-v1-ccc333;;;;;
openai;;;;;;
openai;sk-proj-ddd444;;high;;;
openai;sk-proj-eee555;;;;soon;
";
    assert_eq!(
        told(text),
        [
            "2 openai sk-proj-aaa111",
            "3 groq gsk_bbb222",
            "4 openrouter sk-or-v1-ccc333",
            "5 refused \"\": no column with a key: api_key, key, secret, token, apikey, value",
            "6 refused \"...d444\": its priority is no number",
            "7 refused \"...e555\": soon is no date",
        ]
    );
    let first = read(text, None).remove(0).key.unwrap();
    assert_eq!(
        (first.name.as_deref(), first.priority, first.owner.as_deref()),
        (Some("first"), Some(60), Some("ada@example.com"))
    );
    assert_eq!(
        (first.note.as_deref(), first.expires_at),
        (Some("with ; in it"), Timestamp::parse_day_or_time("2030-01-31"))
    );
}

#[test]
fn a_head_is_found_below_comments_beside_numbers_and_alone() {
    let commented = "# exported on Friday
# from the old vault

provider,api_key
# not this one
openai,sk-proj-aaa111
groq,\"gsk_
";
    assert_eq!(told(commented)[..1], ["6 openai sk-proj-aaa111"]);
    let numbered = "#,provider,api_key\n1,openai,sk-proj-aaa111\n2,groq,gsk_bbb222\n";
    assert_eq!(told(numbered), ["2 openai sk-proj-aaa111", "3 groq gsk_bbb222"]);
    assert_eq!(
        told("API Key\nsk-proj-aaa111\ngsk_bbb222\n"),
        ["2 openai sk-proj-aaa111", "3 groq gsk_bbb222"]
    );
    assert_eq!(told("# a key, and no head\ngroq gsk_bbb222"), ["2 groq gsk_bbb222"]);
}

#[test]
fn an_empty_variable_is_no_key_whoever_says_whose_it_is() {
    for text in ["OPENAI_API_KEY=", "OPENAI_API_KEY:", "export TOKEN_2=", "OPENAI_API_KEY =", "KEY=\n"] {
        let refused = read(text, Some("openai")).remove(0).key.unwrap_err();
        assert_eq!(refused.why, "the variable is empty", "{text}");
        assert!(read(text, None).remove(0).key.is_err(), "{text}");
    }
    let padded = read("c2VjcmV0c2VjcmV0==", Some("openai")).remove(0).key.unwrap();
    assert_eq!(padded.secret.expose(), "c2VjcmV0c2VjcmV0==", "it may end so");
}

#[test]
fn json_is_read_in_the_forms_that_people_have() {
    assert_eq!(told(r#"["gsk_aaa111", "x"]"#)[0], "1 groq gsk_aaa111");
    assert_eq!(
        told(
            r#"{"openai": "sk-proj-aaa111", "GROQ_API_KEY": ["gsk_b1", "gsk_b2"], "anthropic": {"key": "sk-ant-c"}, "port": 80}"#
        ),
        [
            "1 groq gsk_b1",
            "2 groq gsk_b2",
            "3 anthropic sk-ant-c",
            "4 openai sk-proj-aaa111",
            "5 refused \"port\": the field is called after no provider",
        ]
    );
    let ours = r#"{"providers":[{"provider_type":"openai","api_key":"sk-proj-a","priority":40,"is_active":false,"config":{"model":"m"}}]}"#;
    let key = read(ours, None).remove(0).key.unwrap();
    assert_eq!((key.provider.as_str(), key.priority, key.is_active), ("openai", Some(40), false));
    assert_eq!(key.settings["model"], "m");
    assert_eq!(
        told("{\n\"openai\": ")[0],
        "2 refused \"\": this is no whole JSON: it breaks off in line 2, column 10"
    );
}

#[test]
fn what_an_object_says_of_a_provider_holds_for_all_in_it() {
    for text in [
        r#"{"provider":"vision-nova","keys":["gsk_a1"]}"#,
        r#"{"vision-nova":{"keys":["gsk_a1"]}}"#,
        r#"{"vision-nova":{"keys":[{"key":"gsk_a1"}]}}"#,
        r#"{"data":[{"provider":"vision-nova","keys":["gsk_a1"]}],"next_cursor":"gsk_x","total":1}"#,
    ] {
        assert_eq!(told(text), ["1 vision-nova gsk_a1"], "{text}");
    }
    let beside = r#"{"keys":["gsk_a1"],"credentials":["gsk_a2"],"OPENAI_API_KEY":"sk-proj-a3"}"#;
    assert_eq!(told(beside), ["1 groq gsk_a1", "2 groq gsk_a2", "3 openai sk-proj-a3"]);
}

#[test]
fn what_is_not_active_stays_so_whoever_wrote_the_file() {
    for (word, active) in [
        ("False", Some(false)),
        ("f", Some(false)),
        ("NO", Some(false)),
        ("TRUE", Some(true)),
        ("", Some(true)),
        ("maybe", None),
    ] {
        let read = read(&format!("provider,api_key,is_active\nopenai,sk-proj-a1,{word}\n"), None).remove(0);
        assert_eq!(read.key.ok().map(|key| key.is_active), active, "{word}");
    }
}

/// Nothing that is refused shows a key, and nothing that anybody pastes ends the program.
#[test]
fn whatever_is_pasted_is_answered_without_showing_a_key() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::default();
    let key = "sk-0123456789abcdefghijklmnop";
    let around = proptest::collection::vec("[ -~\n\t\"{}\\[\\],:=;#é]{0,12}", 1..6);
    let done = runner.run(&around, |parts| {
        let text = parts.join(key);
        for pasted in read(&text, None) {
            let shown = pasted.key.map_or_else(|refused| format!("{refused:?}"), |key| key.provider);
            prop_assert!(!shown.contains("0123456789"), "{shown}");
        }
        Ok(())
    });
    done.unwrap();
}
