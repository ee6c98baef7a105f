"""Routes of the services Sightline replaces, at their original paths and in their shapes. Thin views."""
