//! What kind of host this is.

use std::path::Path;

use super::files;

/// Whether this is an EC2 instance, by what its firmware says: `sys` is where sysfs is mounted.
/// EC2 User Guide, "Detect whether a host is an EC2 instance".
pub fn is_ec2_instance(sys: &Path) -> bool {
    const LONGEST: usize = 4096;
    let starts_with = |file: &str, start: &str| {
        let text = files::read_text_now(&sys.join(file), LONGEST);
        text.is_ok_and(|text| {
            let beginning = text.get(..start.len());
            beginning.is_some_and(|it| it.eq_ignore_ascii_case(start))
        })
    };
    // Nitro, and Xen before it.
    starts_with("devices/virtual/dmi/id/board_vendor", "Amazon EC2")
        || starts_with("hypervisor/uuid", "ec2")
}

/// What the kernel calls this start of the host (`random(4)`). A sandbox may hide it.
pub fn boot_id() -> Option<String> {
    const LONGEST: usize = 64;
    let id = files::read_text_now(Path::new("/proc/sys/kernel/random/boot_id"), LONGEST).ok()?;
    let id = id.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(file: &str, text: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        files::write_private(&path, text.as_bytes()).unwrap();
        is_ec2_instance(folder.path())
    }

    #[test]
    fn an_instance_is_known_by_its_firmware() {
        let (nitro, xen) = ("devices/virtual/dmi/id/board_vendor", "hypervisor/uuid");
        assert!(host(nitro, "Amazon EC2\n"));
        assert!(host(xen, "ec2e1916-9099-7caf-fd21-012345abcdef\n"));
        assert!(host(xen, "EC2E1916-9099-7caf-fd21-012345abcdef\n"));
        for (file, text) in [
            (nitro, "LENOVO\n"),
            (nitro, "ec2"),
            (nitro, ""),
            (xen, "45e12aec-dcd1-b213-94ed-012345abcdef\n"),
            (xen, "é"),
            ("other", "Amazon EC2"),
        ] {
            assert!(!host(file, text), "{file}: {text}");
        }
    }
}
