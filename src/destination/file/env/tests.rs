use super::*;
use crate::domain::outcome::FailureKind;

#[test]
fn fuzz_env_files() {
    let seeds: [&[u8]; 4] = [
        b"A=1\nKEY=old # x\nexport KEY='a\nb'\n",
        b"KEY=\"a\\\"b\"\r\n# KEY=no\r\n",
        b"\xef\xbb\xbfKEY=a\\\nb",
        b"",
    ];
    crate::net::testing::fuzz(&seeds, |text| {
        let read = values(text, "KEY");
        if let Ok(edited) = edit(text, "KEY", &key()) {
            assert!(read.is_ok() && !values(&edited, "KEY").unwrap().is_empty());
        }
    });
}

fn key() -> Secret {
    Secret::new(format!("sk-or-v1-{}", "0f".repeat(32)))
}

fn edited(text: &str) -> String {
    String::from_utf8(edit(text.as_bytes(), "KEY", &key()).unwrap()).unwrap()
}

#[test]
fn only_the_value_changes() {
    let rows = [
        ("", "KEY=@\n"),
        ("A=1", "A=1\nKEY=@\n"),
        ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nKEY=@\r\n"),
        ("\u{feff}", "\u{feff}KEY=@\n"),
        ("\u{feff}KEY=x\n", "\u{feff}KEY=@\n"),
        ("# head\nKEY=old\n\nB=2\n", "# head\nKEY=@\n\nB=2\n"),
        ("KEY=old", "KEY=@"),
        ("KEY=", "KEY=@"),
        ("KEY=old\r\nB=2", "KEY=@\r\nB=2"),
        ("export KEY=old\n", "export KEY=@\n"),
        ("  export\tKEY = old\n", "  export\tKEY = @\n"),
        ("KEY=\"old\"\n", "KEY=\"@\"\n"),
        ("KEY='o\"ld' # why\nB=1\n", "KEY='@' # why\nB=1\n"),
        ("KEY=old\t# why\n", "KEY=@\t# why\n"),
        ("KEY=<your-key>\n", "KEY=@\n"),
        ("set -euo pipefail\nset -a; KEY=old; set +a\n", "set -euo pipefail\nset -a; KEY=@; set +a\n"),
        ("set -o allexport\nA=1\n", "set -o allexport\nA=1\nexport KEY=@\n"),
        ("set -a\nA=1\nset +a\n", "set -a\nA=1\nset +a\nexport KEY=@\n"),
        ("A=1\nexport A\n", "A=1\nexport A\nexport KEY=@\n"),
        ("KEY = old # why\n", "KEY = @ # why\n"),
        ("KEY=old; export KEY\n", "KEY=@; export KEY\n"),
        ("KEY='old' && export KEY # why\n", "KEY='@' && export KEY # why\n"),
        ("export KEY=old OTHER=1  \nB=2\n", "export KEY=@ OTHER=1  \nB=2\n"),
        ("export OTHER='1 2' KEY=\"old\" # why\r\n", "export OTHER='1 2' KEY=\"@\" # why\r\n"),
        ("A=1;KEY=old;B=2\n", "A=1;KEY=@;B=2\n"),
        ("set -a\nKEY=$OLD\nset +a\n", "set -a\nKEY=@\nset +a\n"),
        ("export A=1\n# c\nB=2; export B\n", "export A=1\n# c\nB=2; export B\nexport KEY=@\n"),
        ("export A=1\nB=2\n", "export A=1\nB=2\nKEY=@\n"),
        ("PEM=\"-----BEGIN\nabc=\n-----END\"\nKEY=old\n", "PEM=\"-----BEGIN\nabc=\n-----END\"\nKEY=@\n"),
        ("KEY=`old`\n", "KEY=@\n"),
        ("KEY=a\nKEY=\"b\"\n", "KEY=@\nKEY=\"@\"\n"),
        ("B=\"open\nKEY=x\n", "B=\"open\nKEY=@\n"),
        ("A=b\\", "A=b\\\n\nKEY=@\n"),
        ("A=b\\\r\n", "A=b\\\r\n\r\nKEY=@\r\n"),
        ("B=it's\nKEY=x\n", "B=it's\nKEY=@\n"),
        ("#KEY=x\n;KEY=y\nMY_KEY=z\nKEY_2=q\nKEYS\n", "#KEY=x\n;KEY=y\nMY_KEY=z\nKEY_2=q\nKEYS\nKEY=@\n"),
        ("exportKEY=x\nexport=1\n", "exportKEY=x\nexport=1\nKEY=@\n"),
    ];
    for (text, expected) in rows {
        assert_eq!(edited(text), expected.replace('@', key().expose()), "{text:?}");
    }
}

/// Readers differ on what these assign, by the line.
#[test]
fn what_is_not_certain_is_refused_with_its_line() {
    let rows = [
        ("A=1\nKEY=# to be filled\n", 2),
        ("KEY= # to be filled\n", 1),
        ("KEY=\"a\nb\nKEY=c\"\nB=1\n", 1),
        ("B=\"\nKEY=inside\n\"\n", 2),
        ("B=\"an \\\" escaped\nKEY=x\n\"\n", 2),
        ("B=it's\nKEY=x\nC='\n", 2),
        ("KEY=a\\\nb\nB=1\n", 1),
        ("A=b\\\nKEY=x\n", 2),
        ("KEY=a b\n", 1),
        ("KEY=a B=1\n", 1),
        ("A=1 KEY=b\n", 1),
        ("KEY=a program\n", 1),
        ("KEY= B=1\n", 1),
        ("export KEY= B=1\n", 1),
        ("KEY=a & wait\n", 1),
        ("KEY=a | cat\n", 1),
        ("test -f x && KEY=a\n", 1),
        ("if true; then KEY=a; fi\n", 1),
        ("KEY=$(cat /run/key)\n", 1),
        ("KEY=\"a\"b\n", 1),
        ("KEY=it's\n", 1),
        ("KEY=a\\ b\n", 1),
        ("KEY=a\nunset KEY\n", 2),
        ("readonly KEY=a\n", 1),
        ("declare -x KEY=\"a\"\n", 1),
        ("KEY+=a\n", 1),
        ("KEY: a\n", 1),
        ("setenv KEY a\n", 1),
        ("A=1\nsetenv B 2\n", 2),
        ("set -gx KEY a\n", 1),
        ("set B=2\n", 1),
        ("$env:B = \"2\"\n", 1),
        ("[Service]\nEnvironment=KEY=a\n", 1),
    ];
    for (text, line) in rows {
        for failure in
            [edit(text.as_bytes(), "KEY", &key()).unwrap_err(), values(text.as_bytes(), "KEY").unwrap_err()]
        {
            assert!(failure.message.contains(&format!("line {line} ")), "{text:?}: {failure:?}");
            assert!(failure.hint.is_some() && failure.kind == FailureKind::NotSent, "{text:?}");
        }
    }
    let utf16: Vec<u8> = "\u{feff}KEY=a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let old_mac = b"A=1\rKEY=a\r".to_vec();
    for text in [utf16[2..].to_vec(), utf16, old_mac] {
        assert!(edit(&text, "KEY", &key()).is_err(), "{text:?}");
    }
}

/// A shell that sources the file has the key afterwards, and every other variable as before.
#[test]
fn a_shell_reads_the_key_and_everything_else_as_before() {
    let files = [
        "KEY=old; export KEY\nA=1\n",
        "export KEY=old A=1 # why\nB=2\n",
        "export B='1 2' KEY=\"old\" A=1\n",
        "A=1;KEY=old;B=2\n",
        "KEY='old' && export KEY\nB=it\\'s\n",
        "set -a\nKEY=old\nset +a\nB=\"more\nlines\"\n",
        "export A=1\nexport B=2\n",
        "KEY=old # why\nA=b\\\nc\n",
        "A=1\\\n",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    let read = |text: &[u8], names: &str| {
        std::fs::write(&path, text).unwrap();
        let program = format!(". \"$0\"; printf '%s|' {names}");
        let out = std::process::Command::new("sh").arg("-c").arg(program).arg(&path).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    for text in files {
        let new = edit(text.as_bytes(), "KEY", &key()).unwrap();
        assert_eq!(read(&new, "\"$KEY\""), format!("{}|", key().expose()), "{text:?}");
        let others = "\"$A\" \"$B\"";
        assert_eq!(read(&new, others), read(text.as_bytes(), others), "{text:?}");
        let exported = |text: &[u8]| read(text, "\"$(env | grep -c '^KEY=')\"");
        if text.contains("KEY=") {
            assert_eq!(exported(&new), exported(text.as_bytes()), "{text:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_stay() {
    let out = edit(b"A=\xff\xfe\nKEY=x\n\xff", "KEY", &key()).unwrap();
    assert_eq!(out, [b"A=\xff\xfe\nKEY=", key().expose().as_bytes(), b"\n\xff"].concat());
}

#[test]
fn values_as_readers_see_them() {
    let rows = [
        ("KEY=a", vec!["a"]),
        ("KEY = a  # b\r\n", vec!["a"]),
        ("KEY=a#b", vec!["a#b"]),
        ("KEY=\"a b\" # c\nKEY='d'", vec!["a b", "d"]),
        ("KEY=\n", vec![""]),
        ("OTHER=a", vec![]),
    ];
    for (text, expected) in rows {
        let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
        assert_eq!(values(text.as_bytes(), "KEY").unwrap(), expected, "{text:?}");
    }
}

#[test]
fn odd_keys_are_quoted_or_refused() {
    let edited = |key: &str| edit(b"KEY=x\n", "KEY", &Secret::new(key));
    assert_eq!(edited("a$b c#").unwrap(), b"KEY='a$b c#'\n");
    for bad in ["it's", "two\nlines", ""] {
        assert!(edited(bad).is_err(), "{bad:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_file_is_refused_or_reads_back_and_keeps_its_other_bytes(
        text in "([A-Z]{1,2}|KEY|KEY=|export KEY|export |#|;|&&|\"|'|=|\\\\| |\n|\r\n|é){0,40}",
    ) {
        let Ok(before) = assignments(text.as_bytes(), "KEY") else {
            proptest::prop_assert!(edit(text.as_bytes(), "KEY", &key()).is_err());
            return Ok(());
        };
        let out = edit(text.as_bytes(), "KEY", &key()).unwrap();
        let read = values(&out, "KEY").unwrap();
        proptest::prop_assert_eq!(read.len(), before.len().max(1));
        proptest::prop_assert!(read.iter().all(|value| *value == key().expose().as_bytes()));
        let mut others = text.clone().into_bytes();
        for found in before.iter().rev() {
            others.drain(found.value());
        }
        let kept = String::from_utf8(out.clone()).unwrap().replace(key().expose(), "");
        proptest::prop_assert!(kept.as_bytes() == others || before.is_empty() && out.starts_with(text.as_bytes()));
        proptest::prop_assert_eq!(edit(&out, "KEY", &key()).unwrap(), out);
    }
}
