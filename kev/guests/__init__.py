"""The guests that come with kev, and where images are found."""
