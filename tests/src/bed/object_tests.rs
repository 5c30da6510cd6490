use super::*;

fn objects() -> (tempfile::TempDir, Objects) {
    let scratch = tempfile::tempdir().unwrap();
    let objects = Objects::new(scratch.path().join("manifests"), &Family::ALL).unwrap();
    (scratch, objects)
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "t"}, "spec": spec})
}

#[test]
fn files_say_what_was_applied_even_of_a_pod_called_y() {
    let (_scratch, mut objects) = objects();
    let key = objects
        .put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "y", "namespace": "no", "labels": {"on": "1"}}}))
        .unwrap();
    let text = fs::read_to_string(objects.folder().join("pod.no.y.yaml")).unwrap();
    // Read as YAML 1.1, where these words would mean something else.
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(Some(&read), objects.get(&key));
    objects.remove(&key).unwrap();
    assert_eq!(fs::read_dir(objects.folder()).unwrap().count(), 0);
    objects.remove(&key).unwrap_err();
}

#[test]
fn generation_counts_changes_of_the_spec_and_the_uid_stays_until_deletion() {
    let (_scratch, mut objects) = objects();
    let mut put = |spec: Value| {
        let object = json!({"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec});
        let key = objects.put(object).unwrap();
        let metadata = &objects.get(&key).unwrap()["metadata"];
        (metadata["uid"].clone(), metadata["generation"].as_i64().unwrap(), key)
    };
    let (uid, first, _) = put(json!({"podSelector": {}}));
    let (same_uid, same, _) = put(json!({"podSelector": {}}));
    assert_eq!((&same_uid, same), (&uid, first));
    let (same_uid, next, key) = put(json!({}));
    assert_eq!((&same_uid, next), (&uid, first + 1));
    objects.remove(&key).unwrap();
    let key = objects.put(json!({"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {}})).unwrap();
    assert_ne!(objects.get(&key).unwrap()["metadata"]["uid"], uid);
}

#[test]
fn a_service_gets_addresses_and_keeps_them() {
    let (_scratch, mut objects) = objects();
    objects.put(service(json!({}))).unwrap();
    let one = objects.service_addresses("t", "s").unwrap();
    assert!(matches!(one[..], [IpAddr::V4(_)]), "{one:?}");
    objects.put(service(json!({"selector": {"a": "b"}}))).unwrap();
    assert_eq!(objects.service_addresses("t", "s").unwrap(), one);

    objects.put(service(json!({"clusterIP": "10.96.15.20"}))).unwrap();
    assert_eq!(objects.service_addresses("t", "s").unwrap(), ["10.96.15.20".parse::<IpAddr>().unwrap()]);
    objects.put(service(json!({"clusterIP": "None"}))).unwrap();
    objects.service_addresses("t", "s").unwrap_err();

    let mut other = service(json!({"ipFamilyPolicy": "PreferDualStack"}));
    other["metadata"]["name"] = json!("dual");
    objects.put(other).unwrap();
    assert_eq!(objects.service_addresses("t", "dual").unwrap().len(), 2);
}

#[test]
fn an_object_without_a_name_is_refused() {
    assert!(object_ref(&json!({"metadata": {"name": "x"}})).unwrap_err().to_string().contains("kind"));
    assert!(
        object_ref(&json!({"kind": "Pod", "metadata": {}}))
            .unwrap_err()
            .to_string()
            .contains("a Pod without")
    );
    let namespace = object_ref(&json!({"kind": "Pod", "metadata": {"name": "x"}})).unwrap().namespace;
    assert_eq!(namespace, "default");
}
