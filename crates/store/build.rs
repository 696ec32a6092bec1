//! Migrations are compiled in: a new file there means a new build.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
