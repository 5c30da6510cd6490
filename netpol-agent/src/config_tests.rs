use super::*;
use crate::history::HistoryOptions;

fn run(extra: &[&str]) -> Result<RunArgs, String> {
    let args = ["netpol-agent", "run", "--node", "n1", "--source", "dir:/m"];
    let cli = Cli::try_parse_from(args.iter().chain(extra)).map_err(|error| error.to_string())?;
    match cli.command {
        Command::Run(args) => Ok(*args),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let args = run(&[]).unwrap();
    let kernel = args.kernel(|pins| if pins == Path::new(PIN_DIR) { 8192 } else { 0 });
    assert_eq!(kernel.sizes, Sizes { ct: 8192, ..Sizes::default() });
    assert_eq!((kernel.quota, kernel.outside_quota), (2048, 4096));
    assert_eq!((kernel.attach, Switch::from(args.fast_path)), (None, Switch::On));
    assert_eq!(kernel.uplinks, UplinkOptions::default());
    let kernel = run(&["--ct-max=4096"]).unwrap().kernel(|_| 8192);
    assert_eq!((kernel.sizes.ct, kernel.quota, kernel.outside_quota), (4096, 1024, 2048));
    assert_eq!(args.source, Source::Dir("/m".into()));
    assert_eq!(args.ui_bind.to_string(), "127.0.0.1:9472");
    assert_eq!(run(&["--ui-bind=off"]).unwrap().ui_bind, UiBind::Off);
}

#[test]
fn without_services_nothing_is_translated_anywhere() {
    let args = run(&["--services=off"]).unwrap();
    let kernel = args.kernel(|_| 8192);
    assert_eq!((kernel.node_services, kernel.uplinks.choice), (NodeServices::Off, UplinkChoice::Off));
    assert_eq!(args.hand_over(), Switch::Off);
    let args = run(&["--services=off", "--external-mode=dsr"]).unwrap();
    assert_eq!(args.service_settings().external_mode, ExternalMode::Snat);
    assert_eq!(run(&[]).unwrap().hand_over(), Switch::On);
}

#[test]
fn what_pods_do_is_kept_where_a_folder_is_named() {
    assert_eq!(run(&[]).unwrap().flows.history(), None);
    let args = run(&["--flow-store", "/x", "--flow-store-max-age", "1d"]).unwrap();
    let (folder, max_age) = ("/x".into(), Duration::from_secs(86_400));
    let options = HistoryOptions { folder, max_bytes: 100_000_000, max_age };
    assert_eq!(args.flows.history(), Some(options));
}

#[test]
fn bad_values_are_named() {
    for (extra, wanted) in [
        (["--flow-store-max-size", "0"], "0 is not in 1..=1048576"),
        (["--node", "Node_1"], "a node's name has"),
        (["--node", "a-"], "a node's name has"),
        (["--node", "a..b"], "a node's name has"),
        (["--source", "dir:"], "a source is kube or dir:PATH"),
        (["--source", "/m"], "a source is kube or dir:PATH"),
        (["--ct-max", "10"], "10 is not in 1024..=16777216"),
        (["--snat-ports", "70-69"], "ports are FIRST-LAST"),
        (["--snat-ports", "61000"], "ports are FIRST-LAST"),
        (["--external-mode", "direct"], "[possible values: snat, dsr]"),
        (["--healthz-bind", "10256"], "invalid value '10256' for '--healthz-bind <ADDRESS:PORT>'"),
        (["--metrics-bind", "localhost:10249"], "'localhost:10249' for '--metrics-bind <ADDRESS:PORT>'"),
        (["--ui-bind", "9472"], "the page is served at ADDRESS:PORT, or off"),
        (["--xdp", "on"], "auto, native, generic or off"),
        (["--fast-path", "on"], "[possible values: auto, off]"),
    ] {
        let argument = ["netpol-agent", "run"].into_iter().chain(match extra[0] {
            "--node" => vec!["--source", "dir:/m"],
            "--source" => vec!["--node", "n1"],
            _ => vec!["--node", "n1", "--source", "dir:/m"],
        });
        let error = Cli::try_parse_from(argument.chain(extra)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{extra:?}: {error}");
    }
}
