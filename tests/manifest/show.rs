use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proxmaint::cli::manifest::{ShowFormat, check, show};
#[test]
fn try_out() {
    let env = |name: &str| (name == "HOME").then(|| OsString::from("/home/op"));
    for f in ["flat", "dotted", "wrong"] {
        for fmt in [ShowFormat::Human, ShowFormat::Json] {
            let mut out = Vec::new();
            let mut err = Vec::new();
            let rc = show(Path::new(&format!("fixtures/manifests/{f}.toml")), fmt, &env, &mut out, &mut err).unwrap();
            println!("{rc}\n{}\n{}", String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        }
    }
}
