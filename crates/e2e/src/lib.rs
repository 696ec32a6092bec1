//! User stories, one file each
