//! Certificates, governance and permissions of one test, made by the `openssl` command and deleted with the test.

use rustdds::DomainParticipantSecurityConfigFiles;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The only topic that may be published and subscribed.
pub(crate) const TOPIC: &str = "Secret";

pub(crate) struct Papers(PathBuf);

impl Papers {
    pub(crate) fn new() -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zerodds-secured-{}-{nth}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        let papers = Self(dir);
        for ca in ["identity_ca", "permissions_ca"] {
            let (key, certificate) = (format!("{ca}_key.pem"), format!("{ca}.cert.pem"));
            papers.openssl(&format!(
                "req -x509 {EC} -nodes -keyout {key} -out {certificate} -days 3650 -subj /O=Tests/CN={ca}"
            ));
        }
        papers.openssl(&format!(
            "req {EC} -nodes -keyout key.pem -out request.pem -subj /O=Tests/CN={SUBJECT}"
        ));
        papers.openssl(
            "x509 -req -days 3650 -in request.pem -CA identity_ca.cert.pem -CAkey identity_ca_key.pem -set_serial 1 -out cert.pem",
        );
        for (name, text) in [("governance", GOVERNANCE), ("permissions", PERMISSIONS)] {
            let text = text.replace("{TOPIC}", TOPIC).replace("{SUBJECT}", SUBJECT);
            std::fs::write(papers.0.join(format!("{name}.xml")), text).expect("written");
            papers.openssl(&format!(
                "smime -sign -text -in {name}.xml -out {name}.p7s -signer permissions_ca.cert.pem -inkey permissions_ca_key.pem"
            ));
        }
        papers
    }

    pub(crate) fn config(&self) -> DomainParticipantSecurityConfigFiles {
        DomainParticipantSecurityConfigFiles::with_ros_default_names(&self.0, String::new())
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").current_dir(&self.0).args(arguments.split(' ')).output();
        let output = output.expect("these tests need the command `openssl`");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let dir: &Path = &self.0;
        let _ = std::fs::remove_dir_all(dir);
    }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
const SUBJECT: &str = "participant";
const GOVERNANCE: &str = include_str!("governance.xml");
const PERMISSIONS: &str = include_str!("permissions.xml");
