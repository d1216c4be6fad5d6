mod clients;
mod profile_file_vectors;
