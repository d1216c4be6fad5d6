mod profile_file_vectors;
