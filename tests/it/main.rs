mod guards;
mod profile_file_vectors;
mod serving;
