mod config_cases;
mod profile_file_vectors;
