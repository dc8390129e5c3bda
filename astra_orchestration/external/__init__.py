"""Programs that aren't part of this project: started, watched, ended; what they finished is kept."""
