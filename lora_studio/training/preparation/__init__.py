"""From folders of pictures to what the loop reads."""
