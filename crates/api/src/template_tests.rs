//! Tests of the templates: a table of every form, and properties over any text.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn variables() -> Variables {
    [("x", "Hello World"), ("empty", ""), ("path", "/a/b/c.tar.gz"), ("uni", "äß€"), ("inject", "\", \"command\": [\"rm"), ("t", "${x}")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_form() {
    for (template, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("${x}", "Hello World"),
        ("a${x}b${empty}c", "aHello Worldbc"),
        ("${x:=d}", "Hello World"),
        ("${x=d}", "Hello World"),
        ("${x:-d}", "Hello World"),
        ("${no:=d}", "d"),
        ("${no=d}", "d"),
        ("${no:-d}", "d"),
        ("${no:=}", ""),
        ("${no=}", ""),
        ("${empty:=d}", ""),
        ("${empty:-d}", ""),
        ("${no:=${x}}", "Hello World"),
        ("${no:=a${no2:-b${empty}}c}", "abc"),
        ("${x:=${nowhere}}", "Hello World"),
        ("${x:=${y:=${z}}}", "Hello World"),
        ("${no:=a b/c:d=e}", "a b/c:d=e"),
        (r"${no:=a\}b}", "a}b"),
        ("${x^}", "Hello World"),
        ("${uni^}", "Äß€"),
        ("${x^^}", "HELLO WORLD"),
        ("${x,}", "hello World"),
        ("${x,,}", "hello world"),
        ("${empty^}", ""),
        ("${#x}", "11"),
        ("${#uni}", "3"),
        ("${#empty}", "0"),
        ("${x:6}", "World"),
        ("${x:0:5}", "Hello"),
        ("${uni:1:1}", "ß"),
        ("${x:99}", ""),
        ("${x:3:99}", "lo World"),
        ("${x:3:0}", ""),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path#/a}", "/b/c.tar.gz"),
        ("${path#b}", "/a/b/c.tar.gz"),
        ("${path%/?.tar.gz}", "/a/b"),
        ("${path%[a-z]z}", "/a/b/c.tar."),
        ("${path%[!0-9]}", "/a/b/c.tar.g"),
        ("${path%[]z]}", "/a/b/c.tar.g"),
        ("${path%[z}", "/a/b/c.tar.gz"),
        (r"${path#\*}", "/a/b/c.tar.gz"),
        ("${x/o/0}", "Hell0 World"),
        ("${x//o/0}", "Hell0 W0rld"),
        ("${x/#Hello/Bye}", "Bye World"),
        ("${x/#World/Bye}", "Hello World"),
        ("${x/%World/Bye}", "Hello Bye"),
        ("${x/%Hello/Bye}", "Hello World"),
        ("${x/ World}", "Hello"),
        (r"${path//\//-}", "-a-b-c.tar.gz"),
        ("${x//}", "Hello World"),
        ("${x/Hello/${empty}}", " World"),
        // A value is never read as a template, whatever it holds.
        ("${t}", "${x}"),
        ("${no:=${t}}", "${x}"),
        // What is no template stays: the shell's and Kubernetes' own variables.
        ("$", "$"),
        ("$x $(x) $$", "$x $(x) $$"),
        ("$${x} $$${x}", "${x} $${x}"),
        ("}{", "}{"),
    ] {
        assert_eq!(expand(template, &variables()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let form = |text: &str| TemplateProblem::Form(text.to_owned());
    let unclosed = |text: &str| TemplateProblem::Unclosed(text.to_owned());
    for (template, expected) in [
        ("${", form("${")),
        ("${}", form("${}")),
        ("${#}", form("${#}")),
        ("${ x}", form("${ x}")),
        ("${x", unclosed("${x")),
        ("a${x:=d", unclosed("${x:=d")),
        ("${x:=${empty}", unclosed("${x:=${empty}")),
        ("${x/a", unclosed("${x/a")),
        ("${x-d}", form("${x-d}")),
        ("${x+d}", form("${x+d}")),
        ("${x?d}", form("${x?d}")),
        ("${x!}", form("${x!}")),
        ("${x:a}", form("${x:a}")),
        ("${x:1:}", form("${x:1:}")),
        ("${x:1:2:3}", form("${x:1:2:3}")),
        ("${x: -1}", form("${x: -1}")),
        ("${x:99999999999999999999999}", form("${x:99999999999999999999999}")),
        ("${x^a}", form("${x^a}")),
        ("${#x^}", form("${#x^}")),
        ("${ä}", form("${ä}")),
    ] {
        assert_eq!(expand(template, &variables()), Err(expected), "{template}");
    }
    assert_eq!(expand(&format!("{}{}", "${n:=".repeat(40), "}".repeat(40)), &variables()), Err(TemplateProblem::TooDeep));
}

#[test]
fn an_unknown_variable_is_named_in_every_form_without_a_default() {
    for template in ["${no}", "a ${no^^}", "${#no}", "${no:1}", "${no%x}", "${no/a/b}", "${other:=${no}}", "${x/${no}/b}"] {
        match expand(template, &variables()) {
            Err(TemplateProblem::Unknown { name, known }) => assert_eq!((name.as_str(), known.0.len()), ("no", 6), "{template}"),
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn text_does_not_outgrow_its_bound() {
    let long: Variables = [("long".to_owned(), "a".repeat(OUTPUT_LIMIT))].into();
    assert_eq!(expand("${long}", &long).map(|text| text.len()), Ok(OUTPUT_LIMIT));
    for template in ["${long}b", "${long//a/bb}", "${no:=${long}${long}}", "${x:=${long//a/bb}}"] {
        assert_eq!(expand(template, &long), Err(TemplateProblem::TooLong), "{template}");
    }
    let star = format!("${{long#{}b}}", "*a".repeat(120));
    assert_eq!(expand(&star, &long).map(|text| text.len()), Ok(OUTPUT_LIMIT));
    assert_eq!(expand(&format!("${{long#{}}}", "*".repeat(300)), &long), Err(TemplateProblem::TooLong));
}

#[test]
fn an_object_is_filled_in_string_by_string() {
    let object = json!({ "args": ["--a=${x}", "${inject}"], "deep": { "n": 3, "b": true, "z": null, "${x}": "${empty}" } });
    assert_eq!(
        expand_object(&object, &variables(), "spec"),
        Ok(json!({ "args": ["--a=Hello World", "\", \"command\": [\"rm"], "deep": { "n": 3, "b": true, "z": null, "${x}": "" } }))
    );
}

#[test]
fn every_error_of_an_object_says_where_it_stands() {
    let object = json!({ "args": ["ok", "${no}"], "env": [{ "value": "${" }] });
    let errors = expand_object(&object, &[("x".to_owned(), String::new())].into(), "Function f: spec").unwrap_err();
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "Function f: spec.args[1]: unknown variable \"no\"; known are x; give it under the task's variables or params, or write ${no:=DEFAULT}",
            "Function f: spec.env[0].value: cannot read the template \"${\"",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", value in "\\PC{0,20}") {
        let _ = expand(&text, &[("x".to_owned(), value)].into());
    }

    #[test]
    fn no_template_makes_it_panic(text in "([$]?[{]|[}]|x|no|[#%/:^,=\\\\*?\\[\\]!-]|[0-9a-c]|ä){0,40}", value in "[a-cä/.]{0,12}") {
        let _ = expand(&text, &[("x".to_owned(), value)].into());
    }

    #[test]
    fn text_without_a_dollar_stays(text in "[^$]{0,80}") {
        prop_assert_eq!(expand(&text, &Variables::new()), Ok(text));
    }

    #[test]
    fn a_value_comes_through_unchanged(before in "[^$]{0,10}", value in "\\PC{0,40}", after in "[^$]{0,10}") {
        let filled = expand(&format!("{before}${{x}}{after}"), &[("x".to_owned(), value.clone())].into());
        prop_assert_eq!(filled, Ok(format!("{before}{value}{after}")));
    }

    #[test]
    fn slices_and_trims_are_parts_of_the_value(value in "[a-c/.]{0,20}", glob in "[a-c/.*?]{0,6}", at in 0usize..25, most in 0usize..25) {
        let variables: Variables = [("x".to_owned(), value.clone())].into();
        let slice = expand(&format!("${{x:{at}:{most}}}"), &variables).unwrap();
        prop_assert!(value.contains(&slice), "{}", slice);
        let short = expand(&format!("${{x%{glob}}}"), &variables).unwrap();
        let long = expand(&format!("${{x%%{glob}}}"), &variables).unwrap();
        prop_assert!(value.starts_with(&short) && short.starts_with(&long), "{} {}", short, long);
        if !glob.starts_with('#') {
            let short = expand(&format!("${{x#a{glob}}}"), &variables).unwrap();
            let long = expand(&format!("${{x##a{glob}}}"), &variables).unwrap();
            prop_assert!(value.ends_with(&short) && short.ends_with(&long), "{} {}", short, long);
        }
    }
}
