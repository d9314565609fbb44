//! Which container a process is in: from its cgroup's path, and from what the container runtimes
//! keep on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// The name that its user gave it.
    pub(crate) name: Option<String>,
    /// The program that runs it: `docker`, `containerd`, `cri-o`, `podman`, `crun`, `runc`.
    pub(crate) runtime: Option<&'static str>,
    /// The uid of its Kubernetes pod.
    pub(crate) pod_uid: Option<String>,
}

impl Container {
    /// Whether `wanted` is its name or the beginning of its id.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        !wanted.is_empty() && (self.id.starts_with(wanted) || self.name.as_deref() == Some(wanted))
    }
}

/// The containers of a host.
#[derive(Debug)]
pub(crate) struct Containers {
    root: PathBuf,
}

impl Default for Containers {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Containers {
    /// The container of a cgroup, by its path in any hierarchy.
    pub(crate) fn of_cgroup(&self, path: &str) -> Option<Container> {
        let mut container = of_path(path).or_else(|| self.of_runtime_state(path))?;
        container.name = self.name_of(&container.id);
        Some(container)
    }

    /// The container of a process, by the text of its `/proc/PID/cgroup`. Where there is more than
    /// one hierarchy, each of them may name it.
    pub(crate) fn of_process(&self, cgroups: &str) -> Option<Container> {
        let paths = cgroups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2));
        paths
            .filter(|path| *path != "/")
            .find_map(|path| self.of_cgroup(path))
    }

    /// The container of a runtime that was called by hand: its id is free, so that only the
    /// runtime's own state says that a cgroup is a container.
    fn of_runtime_state(&self, path: &str) -> Option<Container> {
        let last = path.rsplit('/').find(|part| !part.is_empty())?;
        let id = last.strip_suffix(".scope").unwrap_or(last);
        let id = id
            .strip_prefix("crun-")
            .or(id.strip_prefix("runc-"))
            .unwrap_or(id);
        let is_here = |cgroup: &Value| {
            cgroup
                .as_str()
                .is_some_and(|known| known.trim_end_matches('/').ends_with(path))
        };
        if let Some(runtime) = self.being_made(id) {
            return Some(Container {
                id: id.to_owned(),
                runtime: Some(runtime),
                ..Container::default()
            });
        }
        let (state, runtime) = if let Some(state) = self.json(&["run/runc", id, "state.json"]) {
            (state.pointer("/cgroup_paths").cloned(), "runc")
        } else {
            let state = self.json(&["run/crun", id, "status"])?;
            (state.pointer("/cgroup-path").cloned(), "crun")
        };
        let is_container = match state? {
            Value::Object(paths) => paths.values().any(is_here),
            path => is_here(&path),
        };
        is_container.then(|| Container {
            id: id.to_owned(),
            runtime: Some(runtime),
            ..Container::default()
        })
    }

    /// The runtime that is making a container of this id: each makes a directory for its state first,
    /// then the cgroup, and writes the state when the container's first process waits to be executed.
    fn being_made(&self, id: &str) -> Option<&'static str> {
        let runtimes = [("runc", "state.json"), ("crun", "status")];
        let is_made_by = |(runtime, state): &(&str, &str)| {
            let dir = self.root.join("run").join(runtime).join(id);
            dir.is_dir() && !dir.join(state).exists()
        };
        // A name that leads nowhere else.
        let is_name = !matches!(id, "" | "." | "..");
        let found = runtimes
            .into_iter()
            .find(|known| is_name && is_made_by(known));
        found.map(|(runtime, _)| runtime)
    }

    /// A container's name, from the state of the runtime that made it.
    fn name_of(&self, id: &str) -> Option<String> {
        self.docker_name(id)
            .or_else(|| self.storage_name(id))
            .or_else(|| self.containerd_name(id))
    }

    fn docker_name(&self, id: &str) -> Option<String> {
        let config = self.json(&["var/lib/docker/containers", id, "config.v2.json"])?;
        let name = config.get("Name")?.as_str()?;
        Some(name.trim_start_matches('/').to_owned())
    }

    /// podman and cri-o keep containers in the same kind of store.
    fn storage_name(&self, id: &str) -> Option<String> {
        let stores = [
            "var/lib/containers/storage/overlay-containers",
            "run/containers/storage/overlay-containers",
        ];
        let files = ["containers.json", "volatile-containers.json"];
        let lists = stores
            .iter()
            .flat_map(|store| files.map(|file| self.json(&[store, file])));
        lists.flatten().find_map(|list| {
            let rows = list.as_array()?;
            let row = rows.iter().find(|row| row["id"] == id)?;
            Some(row.pointer("/names/0")?.as_str()?.to_owned())
        })
    }

    /// containerd keeps the OCI configuration of each running container, by namespace.
    fn containerd_name(&self, id: &str) -> Option<String> {
        let tasks = "run/containerd/io.containerd.runtime.v2.task";
        let namespaces = fs::read_dir(self.root.join(tasks)).ok()?;
        namespaces.flatten().find_map(|namespace| {
            let path = namespace.path().join(id).join("config.json");
            let config: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let annotations = config.get("annotations")?;
            let names = ["io.kubernetes.cri.container-name", "nerdctl/name"];
            let name = names
                .iter()
                .find_map(|name| annotations.get(name)?.as_str())?;
            Some(name.to_owned())
        })
    }

    fn json(&self, parts: &[&str]) -> Option<Value> {
        let path = parts
            .iter()
            .fold(self.root.clone(), |path, part| path.join(part));
        // A container's id comes from a path: it is one component and leads nowhere else.
        let stays = path
            .components()
            .all(|part| part != std::path::Component::ParentDir);
        let text = stays.then(|| fs::read(Path::new(&path)).ok())??;
        serde_json::from_slice(&text).ok()
    }
}

/// What a cgroup's path says by itself: the innermost part that is a container's id, with the
/// prefix of its runtime.
fn of_path(path: &str) -> Option<Container> {
    let mut container = path.rsplit('/').find_map(of_component)?;
    container.pod_uid = path.split(['/', ':']).rev().find_map(pod_uid);
    if container.runtime.is_none() {
        let parents = [("/docker/", "docker"), ("/libpod_parent/", "podman")];
        container.runtime = parents
            .iter()
            .find(|(parent, _)| path.contains(parent))
            .map(|(_, runtime)| *runtime);
    }
    Some(container)
}

/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `….slice:cri-containerd:ID`.
fn of_component(part: &str) -> Option<Container> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit(['-', ':']).next()?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let prefix = part.strip_suffix(id)?.trim_end_matches(['-', ':']);
    let prefix = prefix.rsplit(':').next()?;
    // `crio-conmon-ID`: the process that watches a container is not in it.
    if !is_id || prefix.ends_with("conmon") {
        return None;
    }
    let runtime = match prefix {
        "docker" => Some("docker"),
        "cri-containerd" | "nerdctl" | "containerd" => Some("containerd"),
        "crio" => Some("cri-o"),
        "libpod" => Some("podman"),
        "crun" => Some("crun"),
        "runc" => Some("runc"),
        _ => None,
    };
    Some(Container {
        id: id.to_owned(),
        runtime,
        ..Container::default()
    })
}

/// `podUID`, `kubepods-burstable-podUID.slice`, where systemd's names have `_` for `-`.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.strip_prefix("pod") {
        Some(uid) => uid,
        None => part.strip_prefix("kubepods")?.rsplit_once("-pod")?.1,
    };
    let uid = uid.replace('_', "-");
    // A static pod has the 32 digits of a hash for its uid.
    let is_uid = matches!(uid.len(), 32 | 36)
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> String {
        "0123456789abcdef".repeat(4)
    }

    fn check(path: &str, runtime: Option<&str>, pod_uid: Option<&str>) {
        let path = path.replace("ID", &id());
        let found = of_path(&path).unwrap_or_else(|| panic!("no container in {path}"));
        assert_eq!(found.id, id(), "{path}");
        assert_eq!(found.runtime, runtime, "{path}");
        assert_eq!(found.pod_uid.as_deref(), pod_uid, "{path}");
    }

    #[test]
    fn containers_are_found_in_the_paths_of_the_common_runtimes() {
        const POD: &str = "2b5e3a3c-91d4-4f0e-8a53-0c2f6f1d7e11";
        check("/docker/ID", Some("docker"), None);
        check("/system.slice/docker-ID.scope", Some("docker"), None);
        check(
            "/system.slice/docker-ID.scope/init.scope",
            Some("docker"),
            None,
        );
        check("/system.slice/nerdctl-ID.scope", Some("containerd"), None);
        check("/default/ID", None, None);
        check(
            "/machine.slice/libpod-ID.scope/container",
            Some("podman"),
            None,
        );
        check("/libpod_parent/libpod-ID", Some("podman"), None);
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            Some("podman"),
            None,
        );
        check(&format!("/kubepods/burstable/pod{POD}/ID"), None, Some(POD));
        check(&format!("/kubepods/pod{POD}/ID"), None, Some(POD));
        check(
            &format!("/kubepods/besteffort/pod{POD}/crio-ID"),
            Some("cri-o"),
            Some(POD),
        );
        let unit = POD.replace('-', "_");
        let slices =
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{unit}.slice");
        check(
            &format!("/{slices}/cri-containerd-ID.scope"),
            Some("containerd"),
            Some(POD),
        );
        check(
            &format!("/{slices}/crio-ID.scope"),
            Some("cri-o"),
            Some(POD),
        );
        check(
            &format!("/{slices}/docker-ID.scope"),
            Some("docker"),
            Some(POD),
        );
        check(
            &format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{unit}.slice:cri-containerd:ID"
            ),
            Some("containerd"),
            Some(POD),
        );
        check(
            "/kubepods.slice/kubepods-podfb4a1b2c3d4e5f60718293a4b5c6d7e8.slice/crio-ID.scope",
            Some("cri-o"),
            Some("fb4a1b2c3d4e5f60718293a4b5c6d7e8"),
        );
    }

    #[test]
    fn other_cgroups_are_no_containers() {
        for path in [
            "/",
            "/user.slice/user-1000.slice/session-1.scope",
            "/system.slice/nginx.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/crio-conmon-ID.scope",
            "/kubepods/burstable/pod2b5e3a3c-91d4-4f0e-8a53-0c2f6f1d7e11",
        ] {
            let path = path.replace("ID", &id());
            assert_eq!(of_path(&path), None, "{path}");
        }
    }

    #[test]
    fn names_come_from_the_state_of_the_runtimes() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let id = |digit: &str| digit.repeat(64);
        put(
            &format!("var/lib/docker/containers/{}/config.v2.json", id("a")),
            r#"{"ID": "a", "Name": "/web"}"#,
        );
        put(
            "var/lib/containers/storage/overlay-containers/containers.json",
            &format!(r#"[{{"id": "{}", "names": ["cache"]}}]"#, id("b")),
        );
        put(
            &format!(
                "run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json",
                id("c")
            ),
            r#"{"annotations": {"io.kubernetes.cri.container-name": "api"}}"#,
        );
        put(
            "run/runc/tool/state.json",
            r#"{"cgroup_paths": {"": "/sys/fs/cgroup/unified/tool"}}"#,
        );
        let containers = Containers {
            root: root.path().into(),
        };
        let name = |path: String| containers.of_cgroup(&path).unwrap().name;
        assert_eq!(name(format!("/docker/{}", id("a"))).as_deref(), Some("web"));
        assert_eq!(
            name(format!("/machine.slice/libpod-{}.scope", id("b"))).as_deref(),
            Some("cache")
        );
        assert_eq!(name(format!("/k8s.io/{}", id("c"))).as_deref(), Some("api"));
        assert_eq!(name(format!("/docker/{}", id("d"))), None);
        let tool = containers.of_process("4:memory:/\n0::/tool\n").unwrap();
        assert_eq!((tool.id.as_str(), tool.runtime), ("tool", Some("runc")));
        assert_eq!(containers.of_cgroup("/elsewhere/tool"), None);
        // One that is being made has no state yet.
        fs::create_dir_all(root.path().join("run/crun/fresh")).unwrap();
        let fresh = containers
            .of_cgroup("/user.slice/crun-fresh.scope")
            .unwrap();
        assert_eq!((fresh.id.as_str(), fresh.runtime), ("fresh", Some("crun")));
        assert_eq!(containers.of_cgroup("/runc-.scope"), None);
        assert_eq!(containers.of_cgroup("/.."), None);
    }

    #[test]
    fn a_container_is_called_by_name_or_by_the_beginning_of_its_id() {
        let container = Container {
            id: id(),
            name: Some("web".into()),
            ..Container::default()
        };
        assert!(container.is_called("0123456789ab") && container.is_called("web"));
        assert!(!container.is_called("we") && !container.is_called(""));
    }
}
