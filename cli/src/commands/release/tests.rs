#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn names_of_meshes_are_dns_labels() {
    for good in ["fsm", "a", "my-mesh-2"] {
        check_mesh_name(good).unwrap();
    }
    for bad in ["", "Fsm", "-a", "a-", "a.b", &"x".repeat(64)] {
        assert!(check_mesh_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn values_become_arguments_of_helm_and_nonsense_is_refused() {
    let values = Values {
        set: vec!["fsm.enableEgress=false".to_owned()],
        files: vec!["values.yaml".into()],
        fsm_image_tag: Some("1.2".to_owned()),
        ..Values::default()
    };
    let wanted = ["--values", "values.yaml", "--set", "fsm.image.tag=1.2", "--set", "fsm.enableEgress=false"];
    assert_eq!(values.arguments().unwrap(), wanted);
    let nonsense = Values { set: vec!["fsm.enableEgress".to_owned()], ..Values::default() };
    assert!(nonsense.arguments().unwrap_err().to_string().starts_with("invalid format for --set"));
}

#[test]
fn a_failure_of_helm_comes_with_what_to_do() {
    let failed = |said: &str| explain(HelmError::Failed { said: said.to_owned() }, "m", "n").to_string();
    assert!(failed("cannot re-use a name that is still in use").contains("fsm mesh upgrade"));
    assert!(failed("values don't meet the specifications of the schema(s)").contains("docs/installation.md"));
    assert_eq!(failed("something else"), "helm: something else");
}
