"""The instant head on real data: Dice with 1 to 16 labels, and seconds."""
