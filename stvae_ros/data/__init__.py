"""Where frames come from: video files, folders of images and synthetic scenes."""
