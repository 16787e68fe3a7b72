"""The room playground: what there is to break, for real. Here is what its experiments look up."""
