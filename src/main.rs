//! The command line of loraloom.

// Keeps freed pages for the next pass: fresh ones from the system cost a tenth of a forward pass.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    without_desktop();
    cli::run()
}

/// Keeps Mesa's Vulkan layer from looking for a Wayland server where no desktop is, as on a cluster or in a container:
/// libwayland would print "error: XDG_RUNTIME_DIR is invalid" four times over every answer. Who chooses a GPU by that
/// layer's own variables keeps it.
#[cfg(target_os = "linux")]
fn without_desktop() {
    let set = |name| std::env::var_os(name).is_some();
    if !["XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"].into_iter().any(set) {
        // SAFETY: nothing else runs yet that could read or write the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
