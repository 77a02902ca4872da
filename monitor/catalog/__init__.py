"""What comes into the catalog: manifests, tags, codes, and files that cannot be taken."""
