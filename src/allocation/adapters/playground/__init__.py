"""The room playground: what there is to break. Here is what its experiments look up."""
