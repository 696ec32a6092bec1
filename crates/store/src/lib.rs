//! Tables, migrations and queries
