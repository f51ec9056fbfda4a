"""The page that the service serves to browsers: files that browsers read as they are."""
